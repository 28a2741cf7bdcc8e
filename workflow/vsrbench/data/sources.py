"""The data sets by name: where they lie, how to get them, how many clips they have. Quick to import."""

from dataclasses import dataclass
from pathlib import Path

from vsrbench.core.errors import InputError


@dataclass(frozen=True)
class Source:
    """A data set on disk; the module of its name says more."""

    folders: tuple[str, ...]  # of its ground truth, below the data root; one of them
    how_to_get: str
    splits: dict[str, int | None]  # split -> official number of clips, None where there is none
    clip_list: str | None = None  # beside the folder: the official list without which no clip is known

    def folder(self, root: Path | None) -> Path:
        """Where its ground truth lies, or should lie."""
        root = Path("data_root") if root is None else Path(root)
        return next((root / name for name in self.folders if (root / name).is_dir()), root / self.folders[0])

    def missing(self, root: Path | None) -> Path | None:
        """The folder or list that is not there, None where both are; the frames are another matter."""
        folder = self.folder(root)
        if root is None or not folder.is_dir():
            return folder
        listed = folder.parent / (self.clip_list or "")
        return listed if self.clip_list and not listed.is_file() else None


_REDS = ("train_sharp", "REDS/train_sharp", "train/train_sharp", "REDS/train/train_sharp")
_GET_REDS = (
    "get train_sharp, train_sharp_bicubic (X4), val_sharp and val_sharp_bicubic (X4) "
    "from https://seungjunnah.github.io/Datasets/reds and unpack them side by side"
)
_VIMEO = ("vimeo_septuplet/sequences", "vimeo90k/sequences", "vimeo90k/GT")
_GET_VIMEO = (
    "get the septuplet archive with its sep_*.txt lists from http://toflow.csail.mit.edu and unpack it"
)

SOURCES = {
    "photo_motion": Source((".",), "generate it", {"train": None, "validation": None, "test": None}),
    "reds": Source(_REDS, _GET_REDS, {"train": 266, "validation": 4}),
    "reds4": Source(_REDS, _GET_REDS, {"test": 4}),
    "vimeo90k": Source(
        _VIMEO, _GET_VIMEO, {"train": 64612, "validation": 20, "test": 7824}, "sep_testlist.txt"
    ),
    "vimeo90k_fast": Source(_VIMEO, _GET_VIMEO, {"test": 1225}, "sep_fast_testset.txt"),
    "vimeo90k_medium": Source(_VIMEO, _GET_VIMEO, {"test": 4977}, "sep_medium_testset.txt"),
    "vimeo90k_slow": Source(_VIMEO, _GET_VIMEO, {"test": 1613}, "sep_slow_testset.txt"),
    "vid4": Source(
        ("Vid4/GT",),
        "get Vid4 as linked from https://github.com/XPixelGroup/BasicSR (docs/DatasetPreparation.md) "
        "and unpack it, GT beside BIx4",
        {"test": 4},
    ),
    "udm10": Source(
        ("UDM10/GT",),
        "get UDM10 as linked from https://github.com/open-mmlab/mmagic (dataset_zoo/udm10) "
        "and unpack it, GT beside BDx4",
        {"test": 10},
    ),
    "folder": Source(
        ("GT", "."), "put clips there, as folders of numbered PNG frames or as video files", {"test": None}
    ),
}


def get_source(dataset: str) -> Source:
    """The source of that name, or an InputError."""
    if dataset not in SOURCES:
        raise InputError(f"there is no data set {dataset!r}; there are {', '.join(SOURCES)}")
    return SOURCES[dataset]
