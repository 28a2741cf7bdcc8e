"""The data sets, by their names in a study file."""

from pathlib import Path

from vsrbench.data import photo_motion
from vsrbench.data.clips import Clip

DATASETS = {
    "photo_motion": photo_motion,
}


def find_clips(dataset: str, split: str, root: Path, degradation: str) -> list[Clip]:
    """The clips of one split of a data set (train, validation or test) that lie under `root`."""
    return DATASETS[dataset].find_clips(split, Path(root), degradation)
