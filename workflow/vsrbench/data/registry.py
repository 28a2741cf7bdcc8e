"""The data sets by name: where their files are, how to get them, how they are scored. Quick to import."""

from dataclasses import dataclass
from pathlib import Path

from vsrbench.core.errors import check_known


@dataclass(frozen=True)
class DataSet:
    """A data set as a study names it."""

    name: str
    how_to_get: str
    folders: tuple[str, ...]  # that may hold the ground truth, below the data root
    splits: dict[str, int | None]  # split -> official number of clips, None where there is none
    layout: str = "listed"  # how the files are arranged, see `datasets.LAYOUTS`
    frame: str = "{:08d}.png"  # name of frame t in the layout `listed`
    test_list: str | None = None  # file beside the folder without which no test clip is known
    headline: str = "psnr_rgb"  # the metric that scores are published in
    published_as: str | None = None  # name in the tables of published scores
    scored: tuple[int, int, int] | None = None  # test frames, height and width of the LQ ones, for forecasts
    generated: bool = False  # by the study, with exact optical flow

    def folder(self, root: Path | None) -> Path:
        """Where its ground truth lies, or should lie."""
        root = Path("data_root") if root is None else Path(root)
        return next((root / name for name in self.folders if (root / name).is_dir()), root / self.folders[0])

    def missing(self, root: Path | None) -> Path | None:
        """The folder or list that is not there, None where both are; the frames are another matter."""
        if self.generated:
            return None
        folder = self.folder(root)
        if root is None or not folder.is_dir():
            return folder
        listed = folder.parent / (self.test_list or "")
        return listed if self.test_list and not listed.is_file() else None


_REDS = {
    "how_to_get": "get train_sharp, train_sharp_bicubic (X4), val_sharp and val_sharp_bicubic (X4) "
    "from https://seungjunnah.github.io/Datasets/reds and unpack them side by side",
    "folders": ("train_sharp", "REDS/train_sharp", "train/train_sharp", "REDS/train/train_sharp"),
    "layout": "reds",
}


def _vimeo90k(name: str, test_list: str, clips: int, **others) -> DataSet:
    return DataSet(
        name,
        how_to_get="get the septuplet archive with its sep_*.txt lists from http://toflow.csail.mit.edu "
        "and unpack it",
        folders=("vimeo_septuplet/sequences", "vimeo90k/sequences", "vimeo90k/GT"),
        splits={**others.pop("splits", {}), "test": clips},
        layout="vimeo90k",
        test_list=test_list,
        headline="psnr_y",
        scored=(clips, 64, 112),
        **others,
    )


# A study's own folders, which it names itself.
FOLDER = DataSet(
    "folder",
    how_to_get="put clips there, as folders of numbered PNG frames or as video files",
    folders=("GT", "."),
    splits={"test": None},
    layout="folder",
)

DATA_SETS = {
    dataset.name: dataset
    for dataset in (
        DataSet(
            "photo_motion",
            how_to_get="generate it",
            folders=(".",),
            splits={"train": None, "validation": None, "test": None},
            layout="generated",
            generated=True,
        ),
        DataSet("reds", splits={"train": 266, "validation": 4}, **_REDS),
        DataSet("reds4", splits={"test": 4}, published_as="REDS4", scored=(400, 180, 320), **_REDS),
        _vimeo90k(
            "vimeo90k",
            "sep_testlist.txt",
            7824,
            splits={"train": 64612, "validation": 20},
            published_as="Vimeo-90K-T",
        ),
        _vimeo90k("vimeo90k_fast", "sep_fast_testset.txt", 1225),
        _vimeo90k("vimeo90k_medium", "sep_medium_testset.txt", 4977),
        _vimeo90k("vimeo90k_slow", "sep_slow_testset.txt", 1613),
        # calendar, city, foliage and walk: 41, 34, 49 and 47 frames. Liu and Sun, "A Bayesian approach to
        # adaptive video super resolution", CVPR 2011, as packed by BasicSR and MMagic. No licence is stated:
        # research use.
        DataSet(
            "vid4",
            how_to_get="get Vid4 as linked from https://github.com/XPixelGroup/BasicSR "
            "(docs/DatasetPreparation.md) and unpack it, GT beside BIx4",
            folders=("Vid4/GT",),
            splits={"test": 4},
            headline="psnr_y",
            published_as="Vid4",
            scored=(171, 144, 180),
        ),
        # Ten clips of 32 frames of 1272 x 720. Yi et al., "Progressive fusion video super-resolution network
        # via exploiting non-local spatio-temporal correlations", ICCV 2019, as packed by BasicVSR and MMagic.
        # No licence is stated: research use.
        DataSet(
            "udm10",
            how_to_get="get UDM10 as linked from https://github.com/open-mmlab/mmagic (dataset_zoo/udm10) "
            "and unpack it, GT beside BDx4",
            folders=("UDM10/GT",),
            splits={"test": 10},
            frame="{:04d}.png",
            headline="psnr_y",
            published_as="UDM10",
            scored=(320, 180, 318),
        ),
    )
}

TRAINABLE = tuple(name for name, dataset in DATA_SETS.items() if "train" in dataset.splits)
SCORABLE = tuple(name for name, dataset in DATA_SETS.items() if "test" in dataset.splits)


def get_data_set(name: str) -> DataSet:
    """The data set of that name, or `folder`; InputError for any other name."""
    check_known("data set", name, (*DATA_SETS, FOLDER.name))
    return DATA_SETS.get(name, FOLDER)


def headline_metric(dataset: str) -> str:
    """The metric that a data set is published in: PSNR on Y or RGB; RGB for a study's own folders."""
    return DATA_SETS.get(dataset, FOLDER).headline
