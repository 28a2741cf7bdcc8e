"""Verify a data set on disk, report all problems at once, and write its manifest."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.core.lineage import origin
from vsrbench.data.clips import Clip, describe_size
from vsrbench.data.datasets import find_clips
from vsrbench.data.degradation import degrade
from vsrbench.data.manifest import digest, fingerprint, write_manifest
from vsrbench.data.registry import get_data_set
from vsrbench.data.split import Shares, freeze_split

# Implementations of one degradation differ by one grey level where they round halves; with another
# degradation, frame or phase, almost all values differ by more.
ALLOWED_DIFFERENCE = 1  # grey levels
ALLOWED_EXCEPTIONS = 0.001  # share of the values


def verify(
    dataset: str,
    root: Path,
    degradation: str,
    manifest: Path,
    *,
    name: str | None = None,
    split_seed: int = 1,
    validation_share: float | None = None,
    test_share: float = 0.0,
    workers: int = 1,
) -> None:
    """Check every frame of a data set and write the manifest.

    `name` is the study's name for a `folder`. With `validation_share`, a folder's clips are split for
    training, and the split is kept in `split.json` beside the manifest (`freeze_split`). If whole clips are
    missing, the data set is a subset, and the manifest records of how many clips. `workers` clips are checked
    at once. Raises one InputError that lists all problems, one per line.
    """
    made, root, source = origin("verify"), Path(root), get_data_set(dataset)
    clips = [clip for split in source.splits for clip in find_clips(dataset, split, root, degradation)]
    if not clips:
        raise InputError(f"{source.folder(root)}: contains no clip of {dataset}; {source.how_to_get}")
    if validation_share is not None:
        shares = Shares(split_seed, validation_share, test_share)
        splits = freeze_split(Path(manifest).with_name("split.json"), [clip.name for clip in clips], shares)
        clips = [replace(clip, split=splits[clip.name]) for clip in clips]
    with ThreadPoolExecutor(workers) as pool:
        jobs = pool.map(lambda clip: _verify(clip, root), clips)
        results = list(tqdm(jobs, f"verify {dataset}", len(clips), unit="clip", leave=False))
    problems = [problem for _, found in results for problem in found]
    if problems:
        heading = f"{root}: {len(problems)} problems in {name or dataset}; fix all of them:\n"
        raise InputError((heading if len(problems) > 1 else "") + "\n".join(problems))
    counts = {split: sum(clip.split == split for clip in clips) for split in source.splits}
    subset = {
        split: f"{counts[split]} of {official} clips"
        for split, official in source.splits.items()
        if official not in (None, counts[split])
    }
    facts = {"kind": dataset, "subset": subset}
    write_manifest(manifest, name or dataset, root, degradation, [entry for entry, _ in results], **facts)
    made.record(manifest)


def _verify(clip: Clip, root: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the clip's manifest entry and its problems; the entry is empty if there are any."""
    problems = _leaving(clip.files, root) + _surplus(clip.files)
    if clip.lq and len(clip.lq) != clip.num_frames:
        problems.append(f"{clip.lq[0].parent}: {len(clip.lq)} frames, but {clip.num_frames} of ground truth")
        return {}, problems
    largest = 0
    size = clip.size
    for t in range(clip.num_frames):
        try:
            gt = _attempt(clip.read_gt, t, problems)
            lq = _attempt(clip.read_lq, t, problems) if clip.lq else None
            if gt is not None:
                size = size or gt.shape[1:3]
                _check_size(clip.gt[t], gt, size)
            if gt is not None and lq is not None:
                clip.check_pair(lq, gt, t)
                largest = max(largest, _check_degradation(clip, lq, gt, t))
        except InputError as error:
            problems.append(str(error))
    if problems:
        return {}, problems
    assert size is not None
    entry: dict[str, Any] = {
        "name": clip.name,
        "split": clip.split,
        "frames": clip.num_frames,
        "height": size[0],
        "width": size[1],
        "lq": "shipped" if clip.lq else "made",
    }
    if len(clip.scored) < clip.num_frames:
        entry["scored"] = list(clip.scored)
    if clip.lq:
        entry["largest_difference"] = largest  # grey levels between the LQ frames and the degraded GT
    return entry | {"sha256": digest(clip.files), "fingerprint": fingerprint(clip.files)}, []


def _attempt(read: Callable[[list[int]], np.ndarray], t: int, problems: list[str]) -> np.ndarray | None:
    try:
        return read([t])
    except InputError as error:
        problems.append(str(error))
        return None


def _check_size(path: Path, gt: np.ndarray, size: tuple[int, int]) -> None:
    if gt.shape[1:3] != size:
        raise InputError(f"{path}: expected {size[1]}x{size[0]}, got {describe_size(gt)}; restore this frame")


def _check_degradation(clip: Clip, lq: np.ndarray, gt: np.ndarray, t: int) -> int:
    """Return the largest difference between `lq` and the degraded `gt`, in grey levels."""
    difference = np.abs(lq.astype(int) - degrade(gt, clip.degradation))
    if (difference > ALLOWED_DIFFERENCE).mean() > ALLOWED_EXCEPTIONS:
        raise InputError(
            f"{clip.lq[t]}: not {clip.degradation} of {clip.gt[t].name}, but another frame, phase or "
            f"degradation (differs by up to {difference.max()} grey levels); restore the matching pair"
        )
    return int(difference.max())


def _leaving(files: Sequence[Path], root: Path) -> list[str]:
    """Report files outside `root`: a listed name with `..`, or frames that are links, in one line per clip.

    Folders may be links, since the user chose them; then their frames must be in the target folder. A frame
    that is a link to another folder may be a different frame under this name.
    """
    named = [path for path in files if not path.is_relative_to(root) or ".." in path.relative_to(root).parts]
    if named:
        return [f"{named[0].parent}: lies outside {root}; correct the clip's name in the data set's list"]
    # os.path.realpath, because Path.resolve fails for a link to itself; reading that frame reports it.
    homes = {os.path.realpath(folder) for folder in (root, *{path.parent for path in files})}
    linked = [
        path
        for path in files
        if path.is_symlink() and not any(map(Path(os.path.realpath(path)).is_relative_to, homes))
    ]
    others = f" ({len(linked)} in this clip)" if len(linked) > 1 else ""
    return [
        f"{path}: a symbolic link to outside {path.parent}{others}; link the folder, or put the file there"
        for path in linked[:1]
    ]


def _surplus(files: Sequence[Path]) -> list[str]:
    folders, expected = {path.parent for path in files if path.suffix == ".png"}, set(files)
    return [
        f"{path}: not a frame of the data set; remove it"
        for folder in sorted(folders)
        for path in sorted(folder.glob("*.png"))
        if path not in expected
    ]
