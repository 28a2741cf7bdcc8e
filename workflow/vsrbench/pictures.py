"""Figures of restored frames: crops beside each other, and where the errors are.

Nothing is picked for its looks. Of each data set the clip is shown on which the full model gains its median
over bicubic, with the crop where bicubic errs most.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from vsrbench import plotting
from vsrbench.data.clips import read_frame
from vsrbench.data.datasets import load_clips
from vsrbench.results import Results
from vsrbench.statistics import BASELINE
from vsrbench.tables import headline_metric

SCALE = 4
WIDTH = 9.0  # inches of a figure
GAP, TITLE, BAR = 0.05, 0.36, 0.6
ERRORS = Normalize(0, 64)  # 8-bit levels


@dataclass(frozen=True)
class Example:
    """One frame as it came in, as it was restored, and as it should be; uint8 RGB."""

    label: str
    lq: np.ndarray
    restored: dict[str, np.ndarray]  # by variant, the full model last
    psnr: dict[str, float]
    gt: np.ndarray
    crop: tuple[int, int, int]  # top, left and edge, in pixels of the ground truth


def draw_pictures(
    results: Results, evaluations: Iterable[Path], manifests: Iterable[Path], folder: Path
) -> None:
    """Write `comparison` and `errors`; one row for each data set of which restored frames were kept."""
    frames = {
        tuple(path.parts[-3:-1]): path.with_suffix("")
        for path in sorted(map(Path, evaluations), reverse=True)
    }
    found = (find_example(results, path, frames) for path in map(Path, manifests))
    examples = [example for example in found if example is not None]
    draw_comparison(examples, folder / "comparison")
    draw_errors(examples, folder / "errors")


def find_example(results: Results, manifest: Path, frames: dict[tuple[str, str], Path]) -> Example | None:
    """The frame to show of a data set, or None if none was kept; `frames` holds folders of restored frames.

    Shown are bicubic, the weakest variant and the full model, each with its first seed.
    """
    dataset = manifest.parent.name
    metric = headline_metric(dataset)
    rows = results.rows[results.rows["dataset"] == dataset]
    rows = rows[rows["seed"] == rows.groupby("variant")["seed"].transform("min")]
    scores = rows.set_index(["clip", "frame", "variant"])[metric].unstack()
    kept = {name: _kept(frames.get((dataset, name))) for name in scores}
    clips = {clip.name: clip for clip in load_clips(manifest, "test")}
    others = scores.drop(columns=[BASELINE, "full"]).mean().sort_values()
    names = [BASELINE, *others.index[:1], "full"]
    places = [place for place in scores.index if all(_stem(*place) in kept.get(name, {}) for name in names)]
    if not places:
        return None
    gains = (scores["full"] - scores[BASELINE])[places].sort_values()
    clip, frame = gains.index[(len(gains) - 1) // 2]
    lq, gt = (pictures[0] for pictures in clips[clip].read([frame]))
    restored = {name: read_frame(kept[name][_stem(clip, frame)]) for name in names}
    return Example(
        label=f"{dataset}\n{clip}",
        lq=lq,
        restored=restored,
        psnr=scores.loc[(clip, frame), names].to_dict(),
        gt=gt,
        crop=find_crop(restored[BASELINE], gt),
    )


def _kept(folder: Path | None) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob("*.png")} if folder is not None else {}


def _stem(clip: str, frame: int) -> str:
    return f"{clip.replace('/', '_')}_{frame:08d}"


def find_crop(restored: np.ndarray, gt: np.ndarray) -> tuple[int, int, int]:
    """Top, left and edge of the square, a quarter of the frame high, in which `restored` errs most."""
    edge = min(gt.shape[:2]) // 4 // SCALE * SCALE
    error = ((restored.astype(float) - gt) ** 2).mean(-1)
    inside = slice(edge // 2, -edge // 2 + 1, SCALE)  # where the window fits, on whole pixels of the input
    means = uniform_filter(error, edge)[inside, inside]
    top, left = np.unravel_index(means.argmax(), means.shape)
    return SCALE * int(top), SCALE * int(left), edge


def draw_comparison(examples: list[Example], path: Path) -> None:
    """The whole picture with its crop framed; the crop of the input, of each restoration and of the truth."""
    with plotting.figure(path, WIDTH, _height(examples, _zoomed)) as figure:
        bottom = figure.get_figheight()
        for example in examples:
            top, left, edge = example.crop
            panels = _panels(figure, bottom, _zoomed(example))
            bottom -= _row_height(_zoomed(example))
            whole = next(panels)
            _show(whole, example.gt, example.label)
            for width, colour in ((2.6, "white"), (1.3, plotting.VARIANT)):
                whole.add_patch(
                    Rectangle((left, top), edge, edge, fill=False, edgecolor=colour, linewidth=width)
                )
            lq = example.lq[top // SCALE : (top + edge) // SCALE, left // SCALE : (left + edge) // SCALE]
            _show(next(panels), lq, f"input\n{_size(example.lq)}", interpolation="nearest")
            for name, picture in example.restored.items():
                crop = picture[top : top + edge, left : left + edge]
                _show(next(panels), crop, f"{name}\n{example.psnr[name]:.2f} dB", interpolation="lanczos")
            crop = example.gt[top : top + edge, left : left + edge]
            _show(next(panels), crop, f"ground truth\n{_size(example.gt)}", interpolation="lanczos")


def draw_errors(examples: list[Example], path: Path) -> None:
    """Where each restoration of the whole picture is wrong: the mean absolute error of R, G and B."""
    with plotting.figure(path, WIDTH, _height(examples, _whole) + (BAR if examples else 0)) as figure:
        bottom = figure.get_figheight()
        for example in examples:
            panels = _panels(figure, bottom, _whole(example))
            bottom -= _row_height(_whole(example))
            _show(next(panels), example.gt, example.label)
            for name, picture in example.restored.items():
                error = np.abs(picture.astype(float) - example.gt).mean(-1)
                _show(next(panels), error, f"{name}\n{example.psnr[name]:.2f} dB", cmap="magma", norm=ERRORS)
        if examples:
            bar = figure.add_axes((0.3, 0.4 / figure.get_figheight(), 0.4, 0.12 / figure.get_figheight()))
            scale = figure.colorbar(
                ScalarMappable(ERRORS, "magma"), bar, orientation="horizontal", extend="max"
            )
            scale.set_label("absolute error (8-bit levels)")


def _zoomed(example: Example) -> list[float]:
    """Widths over heights of a row of the comparison."""
    return [example.gt.shape[1] / example.gt.shape[0]] + [1.0] * (len(example.restored) + 2)


def _whole(example: Example) -> list[float]:
    """Widths over heights of a row of the error maps."""
    return [example.gt.shape[1] / example.gt.shape[0]] * (len(example.restored) + 1)


def _row_height(aspects: list[float]) -> float:
    return TITLE + (WIDTH - GAP * (len(aspects) + 1)) / sum(aspects) + GAP


def _height(examples: list[Example], aspects: Callable[[Example], list[float]]) -> float:
    return sum(_row_height(aspects(example)) for example in examples) or 1.0


def _panels(figure: Figure, top: float, aspects: list[float]) -> Iterator[Axes]:
    """Axes side by side in one row, all of one height and filling the width; `top` in inches."""
    width, height = figure.get_size_inches()
    figure.set_layout_engine("none")
    panel_height = _row_height(aspects) - TITLE - GAP
    left = GAP
    for aspect in aspects:
        place = left, top - TITLE - panel_height, aspect * panel_height, panel_height
        axes = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        yield axes
        left += aspect * panel_height + GAP


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _show(axes: Axes, picture: np.ndarray, title: str, **options) -> None:
    axes.imshow(picture, aspect="auto", **options)
    name = title.partition("\n")[0]
    size = min(7.5, 7.5 * 22 / len(name))  # a long name must not run into the next panel
    axes.set_title(title, fontsize=size, fontweight="bold" if name == "full" else "normal", pad=3)
