"""Build the frame store that training reads; for its layout see `frame_store`."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256, writing
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import code_digest
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.data.frame_store import check_array
from vsrbench.data.manifest import fingerprint

FRAMES_AT_ONCE = 16


def store_split(manifest: Path, split: str, index: Path, *, workers: int = 1) -> None:
    """Store one split of a verified or generated data set; `index` is the path of the store's index.json.

    `workers` clips are stored at once. Raises InputError if the data changed since the manifest was written.
    """
    made = origin("store", manifest)
    build_store(load_clips(manifest, split), Path(index).parent, workers=workers)
    made.record(index)


def build_store(clips: Sequence[Clip], folder: Path, *, workers: int = 1) -> None:
    """Store `clips`, all of one degradation, in `folder`; an interrupted build continues.

    `workers` clips are stored at once. Raises InputError for clips of several degradations, or none.
    """
    folder = Path(folder)
    degradations = {clip.degradation for clip in clips}
    if len(degradations) != 1:
        raise InputError(
            f"{folder}: expected clips of one degradation, got {sorted(degradations) or 'no clips'}"
        )
    with ThreadPoolExecutor(workers) as pool:
        jobs = pool.map(lambda clip: _store_clip(clip, folder), clips)
        stored = list(tqdm(jobs, "frame store", len(clips), unit="clip", leave=False))
    with atomic_write(folder / "index.json") as partial:
        partial.write_text(json.dumps({"degradation": degradations.pop(), "clips": stored}, indent=1) + "\n")


def _store_clip(clip: Clip, folder: Path) -> dict[str, Any]:
    """Write a clip's arrays, unless they were already stored from the same files; return its index entry."""
    target, source = folder / clip.name, _source(clip)
    if (entry := _stored_entry(target, source)) is not None:
        return entry
    partial = target.with_name(f".{target.name}.partial")
    for stale in (partial, target):
        shutil.rmtree(stale, ignore_errors=True)
    partial.mkdir(parents=True)
    height, width = _write_frames(clip, partial)
    if clip.flow is not None:
        with writing(partial / "flows.npy"):
            np.save(partial / "flows.npy", np.stack(clip.read_flows()))
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(partial.glob("*.npy"))
    }
    entry = {
        "name": clip.name,
        "num_frames": clip.num_frames,
        "height": height,
        "width": width,
        "files": files,
    }
    (partial / "clip.json").write_text(json.dumps({"source": source, "entry": entry}))
    partial.rename(target)
    return entry


def _write_frames(clip: Clip, folder: Path) -> tuple[int, int]:
    """Write lq.npy and gt.npy a few frames at a time, since a video is long; return the size of LQ frames."""
    with (
        writing(folder),
        (folder / "lq.npy").open("wb") as lq_file,
        (folder / "gt.npy").open("wb") as gt_file,
    ):
        for first in range(0, clip.num_frames, FRAMES_AT_ONCE):
            lq, gt = clip.read(range(first, min(first + FRAMES_AT_ONCE, clip.num_frames)))
            for file, frames in ((lq_file, lq), (gt_file, gt)):
                with writing(Path(file.name)):
                    if first == 0:
                        write_array_header_1_0(file, _header(clip.num_frames, frames))
                    file.write(np.ascontiguousarray(frames).data)
                    file.flush()
    return lq.shape[1], lq.shape[2]


def _header(num_frames: int, frames: np.ndarray) -> dict[str, Any]:
    return header_data_from_array_1_0(frames) | {"shape": (num_frames, *frames.shape[1:])}


def _stored_entry(folder: Path, source: str) -> dict[str, Any] | None:
    try:
        stored: dict[str, Any] = json.loads((folder / "clip.json").read_text())
        for file, facts in stored["entry"]["files"].items():
            check_array(folder / file, facts, digests=True)
        return stored["entry"] if stored["source"] == source else None
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def _source(clip: Clip) -> str:
    """Identify what the arrays depend on: the clip's files and, without LQ files, the degradation's code."""
    code = [] if clip.lq else [code_digest("store")]
    return " ".join([clip.degradation, *code, fingerprint(clip.files)])
