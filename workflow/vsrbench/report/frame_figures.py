"""Figures of restored frames: crops beside each other, where the errors are, a row of pixels over time."""

from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from models.baselines import ANCHOR
from vsrbench.data.clips import read_frame
from vsrbench.data.degradation import SCALE
from vsrbench.evaluation.saved_frames import middle_row, rows_path
from vsrbench.report import plot_style
from vsrbench.report.example_selection import Example
from vsrbench.report.image_panels import (
    BAR,
    aspect,
    colour_bar,
    describe_size,
    draw_box,
    rows_of_panels,
    show,
)

ERRORS = Normalize(0, 64)  # 8-bit levels
FEWEST_FRAMES = 3  # of a temporal profile


def draw_comparison(examples: list[Example], path: Path) -> None:
    """Show the whole picture with its crop framed, and the crops of input, restorations and ground truth."""
    rows = [[aspect(example.gt)] + [1.0] * (len(example.restored) + 2) for example in examples]
    with rows_of_panels(path, rows) as (_, panels):
        for example, (whole, small, *restored, truth) in zip(examples, panels, strict=True):
            top, left, edge = example.crop
            show(whole, example.gt, example.label)
            draw_box(whole, left, top, edge, edge)
            lq = example.lq[top // SCALE : (top + edge) // SCALE, left // SCALE : (left + edge) // SCALE]
            show(small, lq, f"input\n{describe_size(example.lq)}", interpolation="nearest")
            for axes, (name, picture) in zip(restored, example.restored.items(), strict=True):
                crop = picture[top : top + edge, left : left + edge]
                show(axes, crop, f"{name}\n{example.psnr[name]:.2f} dB", interpolation="lanczos")
            crop = example.gt[top : top + edge, left : left + edge]
            show(truth, crop, f"ground truth\n{describe_size(example.gt)}", interpolation="lanczos")


def draw_errors(examples: list[Example], path: Path) -> None:
    """Where each restoration of the whole picture is wrong: the mean absolute error of R, G and B."""
    rows = [[aspect(example.gt)] * (len(example.restored) + 1) for example in examples]
    with rows_of_panels(path, rows, bar=BAR) as (figure, panels):
        for example, (whole, *restored) in zip(examples, panels, strict=True):
            show(whole, example.gt, example.label)
            for axes, (name, picture) in zip(restored, example.restored.items(), strict=True):
                error = np.abs(picture.astype(float) - example.gt).mean(-1)
                show(axes, error, f"{name}\n{example.psnr[name]:.2f} dB", cmap="magma", norm=ERRORS)
        if examples:
            colours = ScalarMappable(ERRORS, "magma")
            colour_bar(figure, colours, "absolute error (8-bit levels)", extend="max")


def draw_profiles(examples: list[Example], path: Path) -> None:
    """One row of pixels over time, the first frame on top, of each restoration and of the truth.

    Of the row that was kept, the part is shown in which bicubic errs most; it is marked in the whole picture.
    """
    examples = [example for example in examples if len(example.clip.scored) >= FEWEST_FRAMES]
    rows = [[aspect(example.gt)] + [1.0] * (len(example.restored) + 1) for example in examples]
    with rows_of_panels(path, rows) as (_, panels):
        for example, (whole, *profiles) in zip(examples, panels, strict=True):
            found = read_profiles(example)
            start, stop = worst_stretch(found[ANCHOR.name], found["ground truth"], example.gt.shape[0] // 4)
            show(whole, example.gt, example.label)
            row = len(example.gt) // 2
            whole.axhline(row, color="white", linewidth=1.6)
            whole.axhline(row, color=plot_style.INK, linewidth=0.8)
            draw_box(whole, start, row - 5, stop - start, 11)
            frames = f"frames {example.clip.scored[0]} to {example.clip.scored[-1]} ↓"
            for axes, (name, profile) in zip(profiles, found.items(), strict=True):
                show(axes, profile[:, start:stop], f"{name}\n{frames}", interpolation="nearest")


def read_profiles(example: Example) -> dict[str, np.ndarray]:
    """By variant, the kept row of pixels of every scored frame, (t, w, 3); the ground truth's comes last."""
    clip = example.clip
    found = {name: read_frame(rows_path(folder, clip.name)) for name, folder in example.samples.items()}
    truth = [middle_row(clip.read_gt([frame])[0]) for frame in clip.scored]
    return found | {"ground truth": np.stack(truth)}


def worst_stretch(profile: np.ndarray, truth: np.ndarray, length: int) -> tuple[int, int]:
    """First and last but one pixel of the `length` pixels in which a profile (t, w, 3) errs most."""
    errors = ((profile.astype(float) - truth) ** 2).mean((0, 2))
    sums = np.convolve(errors, np.ones(length), mode="valid")
    start = int(sums.argmax())
    return start, start + length
