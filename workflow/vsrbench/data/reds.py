"""REDS: 270 clips of 100 frames of 1280 x 720; 000, 011, 015, 020 (`reds4`) are for test, 266 for training.

    <root>/train_sharp/<000 to 239>/%08d.png              train_sharp.zip
    <root>/train_sharp_bicubic/X4/<000 to 239>/%08d.png   train_sharp_bicubic.zip
    <root>/val_sharp/<000 to 029>/%08d.png                val_sharp.zip; here clips 240 to 269
    <root>/val_sharp_bicubic/X4/<000 to 029>/%08d.png     val_sharp_bicubic.zip

with or without the folders `train` and `val` that the archives contain, and optionally all in <root>/REDS.
The official validation clips may also be in train_sharp as 240 to 269 ("regrouped"). As in the released
recipe, REDS4 is also the validation set during training. Scored on RGB, all frames, no border crop. BI frames
are part of the data set; those of another degradation are read from `train_sharp_<degradation>/X4` and the
like, or computed from the ground truth.

Nah et al., "NTIRE 2019 challenge on video deblurring and super-resolution: dataset and study", CVPRW 2019.
Licence: CC BY 4.0.
"""

from pathlib import Path

from vsrbench.data.clips import Clip
from vsrbench.data.layout import listed_clips
from vsrbench.data.registry import DataSet


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the clips of REDS under `root`."""
    train = dataset.folder(root)
    val = root / train.relative_to(root).as_posix().replace("train", "val")

    def folders(clip: str) -> tuple[Path, Path]:
        if int(clip) < 240 or (train / clip).is_dir():
            return train / clip, _low_quality(train, degradation) / clip
        official = f"{int(clip) - 240:03d}"
        return val / official, _low_quality(val, degradation) / official

    listed = "test" if split == "validation" else split
    return listed_clips("reds", listed, degradation, "{:08d}.png", folders)


def _low_quality(sharp: Path, degradation: str) -> Path:
    return sharp.with_name(f"{sharp.name}_{'bicubic' if degradation == 'BI' else degradation}") / "X4"
