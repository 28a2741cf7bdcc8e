"""Pictures side by side: rows of panels of one height, as wide as the figure or as high as is sensible."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vsrbench.report import plot_style

WIDTH = 9.0  # inches
GAP, TITLE, BAR = 0.05, 0.36, 0.6
TALLEST = 2.3  # panel
CHARACTERS = 15  # of the largest title, to an inch


@contextmanager
def rows_of_panels(
    path: Path, rows: list[list[float]], bar: float = 0
) -> Iterator[tuple[Figure, Iterator[list[Axes]]]]:
    """Yield a figure, written as `plot_style.figure` does, and its rows of axes from the top down.

    `rows` hold widths over heights of their panels; `bar` inches are left free below them. All sizes are in
    inches. Without a row the figure says that there is nothing to show.
    """
    height = sum(TITLE + _panel_height(aspects) + GAP for aspects in rows) + bar if rows else 0.5
    with plot_style.figure(path, WIDTH, height) as figure:
        figure.set_layout_engine("none")
        yield figure, _rows(figure, rows)
        if not rows:
            figure.text(0.01, 0.5, "Nothing to show: no restored frames were kept.", va="center")


def _rows(figure: Figure, rows: list[list[float]]) -> Iterator[list[Axes]]:
    top = figure.get_figheight()
    for aspects in rows:
        yield _panels(figure, top - TITLE, aspects)
        top -= TITLE + _panel_height(aspects) + GAP


def _panel_height(aspects: list[float]) -> float:
    return min(TALLEST, (WIDTH - GAP * (len(aspects) + 1)) / sum(aspects))


def _panels(figure: Figure, top: float, aspects: list[float]) -> list[Axes]:
    height, size = _panel_height(aspects), figure.get_size_inches()
    panels, left = [], GAP
    for aspect in aspects:
        place = left, top - height, aspect * height, height
        axes = figure.add_axes(tuple(np.divide(place, (*size, *size))))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        panels.append(axes)
        left += aspect * height + GAP
    return panels


def show(axes: Axes, picture: np.ndarray, title: str, **options) -> None:
    """Show a picture (h, w) or (h, w, 3) that fills its panel, with one or two lines above it."""
    axes.imshow(picture, aspect="auto", **options)
    width = axes.get_position().width * cast("Figure", axes.figure).get_figwidth()
    longest = max(map(len, title.split("\n")))
    size = 7.5 * min(1, width * CHARACTERS / longest)  # a long name must not run into the next panel
    weight = "bold" if title.startswith("full") else "normal"
    axes.set_title(title, fontsize=size, fontweight=weight, pad=3)


def draw_box(axes: Axes, left: float, top: float, width: float, height: float) -> None:
    """Mark a part of a picture, in its pixels, by a frame that is seen on any ground."""
    for line, colour in ((2.6, "white"), (1.3, plot_style.VARIANT)):
        axes.add_patch(
            Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=line)
        )


def colour_bar(figure: Figure, colours: ScalarMappable, label: str, **options) -> None:
    """Draw a horizontal colour bar in the space below the rows."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.3, 0.4 / height, 0.4, 0.12 / height), facecolor="#808080")
    figure.colorbar(colours, axes, orientation="horizontal", **options).set_label(label)


def aspect(picture: np.ndarray) -> float:
    """Width over height of a picture (h, w, ...)."""
    return picture.shape[1] / picture.shape[0]


def describe_size(picture: np.ndarray) -> str:
    """Return width x height in pixels of a picture (h, w) or (h, w, 3)."""
    return f"{picture.shape[1]} x {picture.shape[0]}"
