"""Vimeo-90K septuplets: clips of 7 frames of 448 x 256, 64,612 for training and 7,824 for test.

    <root>/vimeo_septuplet/sep_trainlist.txt, sep_testlist.txt
    <root>/vimeo_septuplet/sequences/00001/0001/im1.png to im7.png
    <root>/vimeo_septuplet/BIx4/00001/0001/im1.png    (or BDx4, ...; BasicSR's folder
                                                      vimeo_septuplet_matlabLRx4/sequences is BIx4)

(`vimeo90k/GT` is accepted for `vimeo_septuplet/sequences`.) Only im4 is scored, on Y. The archive contains no
low-quality frames; without BIx4 they are computed from the ground truth. Validation during training uses
every 400th clip of the test list. The subsets fast, medium and slow (1,225 + 4,977 + 1,613 clips) are read
from `sep_fast_testset.txt` and so on, next to the other lists; nine clips of the test list, named in
workflow/reference/vimeo90k_unclassified.txt, are in none of the three, probably because of blank frames.

Xue et al., "Video enhancement with task-oriented flow", IJCV 2019. Licence: non-commercial use only.
"""

from pathlib import Path

from vsrbench.core.errors import InputError
from vsrbench.data.clips import Clip
from vsrbench.data.registry import DataSet


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the listed clips under `root`; each subset of the test clips has its own list."""
    gt = dataset.folder(root)
    lq = _low_quality(gt, root, degradation)
    frames = [f"im{t}.png" for t in range(1, 8)]
    return [
        Clip(
            dataset="vimeo90k",
            name=name,
            degradation=degradation,
            lq=tuple(lq / name / frame for frame in frames) if lq else (),
            gt=tuple(gt / name / frame for frame in frames),
            scored=(3,),
            size=(256, 448),
        )
        for name in _names(dataset, gt.parent, split)
        if (gt / name).is_dir()
    ]


def _names(dataset: DataSet, folder: Path, split: str) -> list[str]:
    if split == "validation":
        return _names(dataset, folder, "test")[::400]
    clip_list = "sep_trainlist.txt" if split == "train" else dataset.test_list
    assert clip_list is not None
    return _read_list(folder / clip_list, dataset.splits[split])


def _read_list(path: Path, expected: int | None) -> list[str]:
    """Read the clip names of an official list; InputError if it is missing or incomplete."""
    try:
        names = path.read_text().split()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; copy the official list there") from None
    if len(names) != expected or len(set(names)) != expected:
        raise InputError(f"{path}: expected {expected} clips, got {len(names)}; copy the official list there")
    return names


def _low_quality(gt: Path, root: Path, degradation: str) -> Path | None:
    candidates = [gt.parent / f"{degradation}x4"]
    if degradation == "BI":
        candidates.append(root / "vimeo_septuplet_matlabLRx4" / "sequences")
    return next((folder for folder in candidates if folder.is_dir()), None)
