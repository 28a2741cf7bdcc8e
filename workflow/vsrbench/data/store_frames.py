"""Build the frame store that training reads: see `frame_store` for what lies where."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256, writing
from vsrbench.core.provenance import code_digest
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.data.frame_store import check_array
from vsrbench.data.manifest import fingerprint


def store_split(manifest: Path, split: str, index: Path, *, workers: int = 1) -> None:
    """Store one split of a verified or generated data set; `index` is the store's index.json."""
    build_store(load_clips(manifest, split), Path(index).parent, workers=workers)


def build_store(clips: Sequence[Clip], folder: Path, *, workers: int = 1) -> None:
    """Store `clips` (all of one degradation) in `folder`; a build that was stopped goes on where it was."""
    folder = Path(folder)
    degradations = {clip.degradation for clip in clips}
    if len(degradations) != 1:
        raise InputError(
            f"{folder}: a frame store holds one degradation, got {sorted(degradations) or 'no clips'}"
        )
    with ThreadPoolExecutor(workers) as pool:
        stored = pool.map(lambda clip: _store_clip(clip, folder), clips)
        stored = list(tqdm(stored, "frame store", len(clips), unit="clip", leave=False))
    with atomic_write(folder / "index.json") as partial:
        partial.write_text(json.dumps({"degradation": degradations.pop(), "clips": stored}, indent=1) + "\n")


def _store_clip(clip: Clip, folder: Path) -> dict:
    """The clip's entry in the index; its arrays are written unless they are there, from the same files."""
    target, source = folder / clip.name, _source(clip)
    if (entry := _stored_entry(target, source)) is not None:
        return entry
    partial = target.with_name(f".{target.name}.partial")
    for stale in (partial, target):
        shutil.rmtree(stale, ignore_errors=True)
    lq, gt = clip.read()
    arrays = {"lq.npy": lq, "gt.npy": gt}
    if clip.flow is not None:
        arrays["flows.npy"] = np.stack(clip.read_flows())
    partial.mkdir(parents=True)
    for name, array in arrays.items():
        with writing(partial / name):
            np.save(partial / name, array)
    num_frames, height, width = lq.shape[:3]
    files = {
        name: {"bytes": (partial / name).stat().st_size, "sha256": sha256(partial / name)} for name in arrays
    }
    entry = {"name": clip.name, "num_frames": num_frames, "height": height, "width": width, "files": files}
    (partial / "clip.json").write_text(json.dumps({"source": source, "entry": entry}))
    partial.rename(target)
    return entry


def _stored_entry(folder: Path, source: str) -> dict | None:
    try:
        stored = json.loads((folder / "clip.json").read_text())
        for file, facts in stored["entry"]["files"].items():
            check_array(folder / file, facts, digests=True)
        return stored["entry"] if stored["source"] == source else None
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def _source(clip: Clip) -> str:
    """Changes when a file that the clip is read from is replaced, or the code that makes its LQ frames."""
    code = [] if clip.lq else [code_digest("store")]
    return " ".join([clip.degradation, *code, fingerprint(clip.files)])
