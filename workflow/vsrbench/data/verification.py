"""Hold a data set on disk against what it must be, report all damage at once, and write its manifest."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.data.clips import Clip, describe_size
from vsrbench.data.datasets import find_clips
from vsrbench.data.degradation import degrade
from vsrbench.data.manifest import digest, fingerprint, write_manifest
from vsrbench.data.registry import get_data_set

# Implementations of one degradation differ by a grey level where a value lies halfway; a frame of another
# degradation, time or phase differs by more almost everywhere.
ALLOWED_DIFFERENCE = 1
ALLOWED_EXCEPTIONS = 0.001  # share of the values


def verify(
    dataset: str,
    root: Path,
    degradation: str,
    manifest: Path,
    *,
    name: str | None = None,
    workers: int = 1,
) -> None:
    """Check every frame that is there and write the manifest; one InputError lists all damage, a line each.

    `name` is what the study calls a `folder`. Where whole clips are missing the data set is a subset, and the
    manifest says of how many clips. `workers` clips are checked at once.
    """
    root, source = Path(root), get_data_set(dataset)
    clips = [clip for split in source.splits for clip in find_clips(dataset, split, root, degradation)]
    if not clips:
        raise InputError(f"{source.folder(root)}: holds no clip of {dataset}; {source.how_to_get}")
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda clip: _verify(clip, root), clips)
        results = list(tqdm(results, f"verify {dataset}", len(clips), unit="clip", leave=False))
    problems = [problem for _, found in results for problem in found]
    if problems:
        all_of_them = f"{root}: {len(problems)} faults in {name or dataset}; repair them all:\n"
        raise InputError((all_of_them if len(problems) > 1 else "") + "\n".join(problems))
    counts = {split: sum(clip.split == split for clip in clips) for split in source.splits}
    subset = {
        split: f"{counts[split]} of {official} clips"
        for split, official in source.splits.items()
        if official not in (None, counts[split])
    }
    facts = {"kind": dataset, "subset": subset}
    write_manifest(manifest, name or dataset, root, degradation, [entry for entry, _ in results], **facts)


def _verify(clip: Clip, root: Path) -> tuple[dict, list[str]]:
    """The clip's entry in the manifest, and what is wrong with it."""
    problems = _leaving(clip.files, root) + _surplus(clip.files)
    if clip.lq and len(clip.lq) != clip.num_frames:
        problems.append(f"{clip.lq[0].parent}: {len(clip.lq)} frames for {clip.num_frames} of ground truth")
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
    entry = {
        "name": clip.name,
        "split": clip.split,
        "frames": clip.num_frames,
        "height": size[0],
        "width": size[1],
        "lq": "shipped" if clip.lq else "made",
    }
    if clip.lq:
        entry["largest_difference"] = largest  # in grey levels, between the LQ frames and the degraded GT
    return entry | {"sha256": digest(clip.files), "fingerprint": fingerprint(clip.files)}, []


def _attempt(read: Callable[[list[int]], np.ndarray], t: int, problems: list[str]) -> np.ndarray | None:
    try:
        return read([t])
    except InputError as error:
        problems.append(str(error))
        return None


def _check_size(path: Path, gt: np.ndarray, size: tuple[int, int]) -> None:
    if gt.shape[1:3] != size:
        raise InputError(
            f"{path}: {describe_size(gt)}, not {size[1]}x{size[0]} as it must be; restore this frame"
        )


def _check_degradation(clip: Clip, lq: np.ndarray, gt: np.ndarray, t: int) -> int:
    """The largest difference between `lq` and the degraded `gt`, in grey levels."""
    difference = np.abs(lq.astype(int) - degrade(gt, clip.degradation))
    if (difference > ALLOWED_DIFFERENCE).mean() > ALLOWED_EXCEPTIONS:
        raise InputError(
            f"{clip.lq[t]}: is not {clip.degradation} of {clip.gt[t].name} but another frame, phase or "
            f"degradation (up to {difference.max()} grey levels off); restore the matching pair"
        )
    return int(difference.max())


def _leaving(files: Sequence[Path], root: Path) -> list[str]:
    """What reaches out of `root`: a listed name with `..`, or frames that are links, the clip's in one line.

    A folder that is a link is followed: whoever made it chose that folder, and its frames must lie in it. A
    link among its frames shows a frame of something else that goes by this one's name.
    """
    named = [path for path in files if not path.is_relative_to(root) or ".." in path.relative_to(root).parts]
    if named:
        return [f"{named[0].parent}: lies outside {root}; correct the clip's name in the data set's list"]
    # os.path.realpath, since Path.resolve fails at a link to itself, which reading the frame will tell.
    homes = {os.path.realpath(folder) for folder in (root, *{path.parent for path in files})}
    linked = [
        path
        for path in files
        if path.is_symlink() and not any(map(Path(os.path.realpath(path)).is_relative_to, homes))
    ]
    others = f" ({len(linked)} in this clip)" if len(linked) > 1 else ""
    return [
        f"{path}: a symbolic link that leaves {path.parent}{others}; link the folder, or put the file there"
        for path in linked[:1]
    ]


def _surplus(files: Sequence[Path]) -> list[str]:
    folders, expected = {path.parent for path in files if path.suffix == ".png"}, set(files)
    return [
        f"{path}: one frame more than the data set has; remove it"
        for folder in sorted(folders)
        for path in sorted(folder.glob("*.png"))
        if path not in expected
    ]
