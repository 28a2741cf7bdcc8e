"""Shared by the published data sets: official clip lists, and folders of numbered frames."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT
from vsrbench.data.clips import Clip
from vsrbench.data.registry import DataSet

CLIP_LIST = ROOT / "workflow" / "reference" / "clips.csv"


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the clips of a data set in the layout `listed`, which BasicSR and MMagic use.

    <root>/<dataset.folder>/<clip>/<frame>.png    the ground truth, frames numbered from 0
    <its parent>/BIx4/<clip>/<frame>.png          (or BDx4, ...); without it, LQ is computed from GT
    """
    gt = dataset.folder(root)
    lq = gt.parent / f"{degradation}x4"
    return listed_clips(dataset.name, split, degradation, dataset.frame, lambda clip: (gt / clip, lq / clip))


def listed_clips(
    dataset: str, split: str, degradation: str, frame: str, folders: Callable[[str], tuple[Path, Path]]
) -> list[Clip]:
    """Return the clips of the official list whose ground-truth folder exists.

    frame: format string for the file name of frame t. folders: maps a clip's name to the folders of its
    ground truth and its low-quality frames; if the parent of the latter is missing, the data set has no
    low-quality frames. A clip has every frame of the list, whether the file exists or not.
    """
    with open(CLIP_LIST, newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["dataset"], row["split"]) == (dataset, split)]
    clips = []
    for row in rows:
        gt, lq = folders(row["clip"])
        names = [frame.format(t) for t in range(int(row["frames"]))]
        if gt.is_dir():
            clips.append(
                Clip(
                    dataset=dataset,
                    name=row["clip"],
                    degradation=degradation,
                    lq=tuple(lq / name for name in names) if lq.parent.is_dir() else (),
                    gt=tuple(gt / name for name in names),
                    scored=tuple(range(len(names))),
                    split=split,
                    size=(int(row["height"]), int(row["width"])),
                )
            )
    return clips


def numbered_frames(folder: Path) -> tuple[Path, ...]:
    """List the PNGs `<prefix><number>.png` from the lowest number to the highest, including missing ones.

    Raises InputError if more than half as many are missing as exist, as with names that are time stamps.
    """
    numbers = {}
    for path in folder.glob("*.png"):
        match = re.fullmatch(r"(.*?)(\d+)", path.stem)
        if match is None:
            raise InputError(f"{path}: name does not end in a frame number; number the frames")
        numbers[int(match[2])] = path
        prefix, digits = match[1], len(match[2])
    if not numbers:
        raise InputError(f"{folder}: contains no PNG frames; put each clip into a folder of its own")
    low, high = min(numbers), max(numbers)
    missing = high - low + 1 - len(numbers)
    if 2 * missing > len(numbers):
        raise InputError(
            f"{folder}: frames {low} to {high} are not numbered consecutively ({missing} are missing); "
            "number them 0, 1, 2 and so on"
        )
    return tuple(
        numbers.get(number, folder / f"{prefix}{number:0{digits}d}.png") for number in range(low, high + 1)
    )
