"""The look that all figures share: one font, few colours that stay apart in grey, SVG and PNG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from vsrbench.core.files import atomic_write

# Apart for the colour-blind and in grey, where they have 18, 47 and 60 % of white.
FULL = "#08306b"
VARIANT = "#d55e00"
BASELINE = "#999999"
INK = "#222222"
FAINT = "#e3e3e3"
GUIDE: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 2))}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "vsrbench",  # same numbers, same file
    "svg.fonttype": "path",
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure (size in inches), written to `path` with suffixes .svg and .png when the block ends."""
    with mpl.rc_context(_STYLE):
        drawn = Figure((width, height))
        yield drawn
        formats: dict[str, dict[str, Any]] = {".svg": {"metadata": {"Date": None}}, ".png": {}}
        for suffix, options in formats.items():
            with atomic_write(path.with_suffix(suffix)) as partial:
                drawn.savefig(partial, dpi=160, **options)


def colour(variant: str) -> str:
    """Return the colour of a variant's marks: one for the full model, one for all others."""
    return FULL if variant == "full" else VARIANT


def marker(variant: str) -> dict[str, Any]:
    """Return a larger square for the full model, a dot for everything else."""
    shape = {"marker": "s", "markersize": 6} if variant == "full" else {"marker": "o", "markersize": 5}
    return shape | {"color": colour(variant), "markeredgecolor": "white", "markeredgewidth": 0.6}


def line(variant: str, values: pd.Series | None = None) -> Line2D:
    """Return the line of `values` over their index: solid for the full model, dashed for a variant."""
    x, y = (np.array([]), np.array([])) if values is None else (values.index.to_numpy(), values.to_numpy())
    return Line2D(x, y, color=colour(variant), linestyle="-" if variant == "full" else (0, (4, 1.5)))


def label_points(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Names in a column right of the axes, led to from their points, in the order of their heights.

    Call it when the limits are final; y is linear.
    """
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point[1])
    heights = _spread(np.array([(y - low) / (high - low) for _, y, _ in points]))
    for (x, y, name), height in zip(points, heights, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            fontweight="bold" if name == "full" else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": BASELINE,
                "linewidth": 0.4,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _spread(heights: np.ndarray, gap: float = 0.075) -> np.ndarray:
    """Sorted heights, moved as little as it takes (least squares) to be `gap` apart and between 0 and 1."""
    steps = gap * np.arange(len(heights))
    lowest = isotonic_regression(heights - steps).x
    return np.clip(lowest, 0, max(0, 1 - steps[-1])) + steps
