"""The frame of each data set that pictures show. Nothing is picked for its looks.

It is the sample on which the full model gains its median over bicubic, beside the weakest variant, each with
its first seed; the crop is where bicubic errs most.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from scipy.ndimage import uniform_filter

from models.baselines import ANCHOR, BASELINES
from vsrbench.data.clips import Clip, read_frame
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import SCALE
from vsrbench.data.registry import headline_metric
from vsrbench.evaluation.saved_frames import frame_path
from vsrbench.results.study_results import Results, StudyFiles


@dataclass(frozen=True)
class Example:
    """One frame as it came in, as it was restored, and as it should be; uint8 RGB."""

    clip: Clip
    frame: int
    lq: np.ndarray
    restored: dict[str, np.ndarray]  # by variant: bicubic, the weakest one, the full model
    samples: dict[str, Path]  # by variant: the folder of what was kept
    psnr: dict[str, float]
    gt: np.ndarray
    crop: tuple[int, int, int]  # top, left and edge, in pixels of the ground truth

    @property
    def label(self) -> str:
        """Data set and clip, one a line, for a panel's title."""
        return f"{self.clip.dataset}\n{self.clip.name}"


def find_examples(results: Results, files: StudyFiles) -> list[Example]:
    """One for each data set of which restored frames were kept, in folders named like the evaluations."""
    samples = {
        (path.parts[-3], path.parts[-2]): path.with_suffix("")
        for path in sorted(files.evaluations, key=_seed, reverse=True)
    }
    found = (find_example(results, path, samples) for path in files.manifests)
    return [example for example in found if example is not None]


def _seed(evaluation: Path) -> int:
    return int(evaluation.stem.removeprefix("seed_"))


def find_example(results: Results, manifest: Path, samples: dict[tuple[str, str], Path]) -> Example | None:
    """Choose the frame to show of a data set, None if none was kept.

    `samples` holds the folders of saved frames by data set and variant.
    """
    dataset = manifest.parent.name
    metric = headline_metric(dataset)
    rows = results.rows[results.rows["dataset"] == dataset]
    rows = rows[rows["seed"] == rows.groupby("variant")["seed"].transform("min")]
    scores = rows.set_index(["clip", "frame", "variant"])[metric].unstack()
    others = scores.drop(columns=["full", *BASELINES], errors="ignore").mean().sort_values()
    names = [ANCHOR.name, *others.index[:1], "full"]
    folders = {name: samples[dataset, name] for name in names if (dataset, name) in samples}
    places = [
        place
        for place in scores.index
        if len(folders) == len(names) and all(frame_path(folders[name], *place).is_file() for name in names)
    ]
    if not places:
        return None
    gains = (scores["full"] - scores[ANCHOR.name])[places].sort_values()
    name, frame = gains.index[(len(gains) - 1) // 2]
    (clip,) = (clip for clip in load_clips(manifest, "test") if clip.name == name)
    lq, gt = (pictures[0] for pictures in clip.read([frame]))
    restored = {variant: read_frame(frame_path(folder, name, frame)) for variant, folder in folders.items()}
    return Example(
        clip=clip,
        frame=int(frame),
        lq=lq,
        restored=restored,
        samples=folders,
        psnr=cast("dict[str, float]", scores.loc[(name, frame), names].to_dict()),
        gt=gt,
        crop=find_crop(restored[ANCHOR.name], gt),
    )


def find_crop(restored: np.ndarray, gt: np.ndarray) -> tuple[int, int, int]:
    """Top, left and edge of the square, a quarter of the frame high, in which `restored` errs most."""
    edge = min(gt.shape[:2]) // 4 // SCALE * SCALE
    error = ((restored.astype(float) - gt) ** 2).mean(-1)
    inside = slice(edge // 2, -edge // 2 + 1, SCALE)  # where the window fits, on whole pixels of the input
    means = uniform_filter(error, edge)[inside, inside]
    top, left = np.unravel_index(means.argmax(), means.shape)
    return SCALE * int(top), SCALE * int(left), edge
