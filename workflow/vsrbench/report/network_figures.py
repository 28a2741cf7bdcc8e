"""Figures of what a network does inside: its optical flow, and where one of its tokens attends."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from torchvision.utils import flow_to_image

from vsrbench.data.degradation import SCALE
from vsrbench.evaluation.inspect_network import Inspection, read_inspection
from vsrbench.report.example_selection import Example
from vsrbench.report.image_panels import BAR, aspect, colour_bar, draw_box, rows_of_panels, show

MIN_SHARE = 0.1  # percent of a token's attention
SHARES = LogNorm(MIN_SHARE, 100)
ARROWS = 12  # along the shorter edge
WHEEL = 201  # pixels
FAINT = -128, 383  # shows a grey picture of 0 to 255 at half contrast, unlike attention
VEIL = 0.7  # how much of the picture below a share of attention hides


def find_inspections(
    examples: Iterable[Example], files: Iterable[Path]
) -> list[tuple[Example, dict[str, Inspection]]]:
    """By variant, what was seen of each example; files are `<data set>/<variant>/seed_<seed>.safetensors`."""
    paths = [Path(file) for file in files]
    inspected = {(path.parts[-3], path.parts[-2]): path for path in paths}
    found = []
    for example in examples:
        clip = example.clip
        inspections = {
            variant: read_inspection(file, clip.name)
            for (dataset, variant), file in inspected.items()
            if dataset == clip.dataset
        }
        found.append(
            (
                example,
                {
                    variant: inspection
                    for variant, inspection in inspections.items()
                    if inspection is not None
                },
            )
        )
    return found


def draw_flow(seen: list[tuple[Example, dict[str, Inspection]]], path: Path) -> None:
    """Show the full model's optical flow on the whole frame, the exact flow if known, and their distance.

    Colours give the direction, by the wheel at the end of a row, and the length; arrows give them again.
    """
    full = [(example, inspections["full"]) for example, inspections in seen if inspections["full"].flow.size]
    rows = [_flow_aspects(example) for example, _ in full]
    with rows_of_panels(path, rows) as (_, panels):
        for (example, inspection), (whole, estimated, *known, wheel) in zip(full, panels, strict=True):
            show(whole, example.gt, example.label)
            fields, titles = (
                [inspection.flow],
                [f"SPyNet\nmean motion {_mean_length(inspection.flow):.2f} px"],
            )
            if known:
                exact = example.clip.read_flows()[0][example.frame]
                distance = np.linalg.norm(inspection.flow - exact, axis=0)
                fields.append(exact)
                titles.append(f"exact\nmean motion {_mean_length(exact):.2f} px")
                show(
                    known[1],
                    distance,
                    f"end-point error\nmean {distance.mean():.2f}, up to {distance.max():.2f} px",
                    cmap="magma",
                    vmin=0,
                )
            longest = np.linalg.norm(np.stack(fields), axis=1).max()
            colours = flow_to_image(torch.from_numpy(np.stack(fields))).movedim(1, -1).numpy()
            for axes, field, colour, title in zip(
                [estimated, *known[:1]], fields, colours, titles, strict=True
            ):
                show(axes, colour, title)
                _draw_arrows(axes, field, longest)
            _draw_wheel(wheel, longest)


def _flow_aspects(example: Example) -> list[float]:
    """Of the picture, the flow, the exact flow and the distance, and the wheel."""
    return [aspect(example.gt)] * (2 if example.clip.flow is None else 4) + [0.6]


def _mean_length(field: np.ndarray) -> float:
    return np.linalg.norm(field, axis=0).mean()


def _draw_arrows(axes: Axes, field: np.ndarray, longest: float) -> None:
    """Every so many pixels an arrow; the longest of a figure row reaches the next one's start."""
    step = max(1, min(field.shape[1:]) // ARROWS)
    rows, columns = (np.arange(step // 2, size, step) for size in field.shape[1:])
    x, y = field[:, rows][:, :, columns]
    axes.quiver(columns, rows, x, y, angles="xy", scale_units="xy", scale=longest / step, width=0.006)


def _draw_wheel(axes: Axes, longest: float) -> None:
    """Draw the colours of all flows up to the longest, as arrows from the centre of the wheel."""
    axis = torch.linspace(-1, 1, WHEEL)
    field = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))
    field[:, field.norm(dim=0) > 1] = 0  # white, as no motion is
    colours = flow_to_image(field).movedim(0, -1).numpy()
    show(axes, colours, f"colour wheel\nrim: {longest:.1f} px")
    axes.set_aspect("equal", anchor="N")


def draw_attention(seen: list[tuple[Example, dict[str, Inspection]]], path: Path) -> None:
    """Where a token of the frame in the middle attends in all frames of its window, block by block.

    The mean over heads, of the first and of the last block; the query is framed.
    """
    shown = [
        (example, variant, inspection, block)
        for example, inspections in seen
        for variant, inspection in inspections.items()
        if inspection.attention.size
        for block in sorted({0, len(inspection.attention) - 1})
    ]
    rows = [
        [aspect(example.gt)]
        + [inspection.query.tile[3] / inspection.query.tile[2]] * len(inspection.query.frames)
        for example, _, inspection, _ in shown
    ]
    with rows_of_panels(path, rows, bar=BAR) as (figure, panels):
        for (example, variant, inspection, block), (whole, *frame_axes) in zip(shown, panels, strict=True):
            query, blocks = inspection.query, len(inspection.attention)
            top, left, height, width = (query.patch * number for number in query.tile)
            name = variant if blocks == 1 else f"{variant}, block {block + 1} of {blocks}"
            show(whole, example.gt, f"{name}\n{example.clip.dataset} {example.clip.name}")
            draw_box(whole, SCALE * left, SCALE * top, SCALE * width, SCALE * height)
            lq = example.clip.read(query.frames)[0][:, top : top + height, left : left + width].mean(-1)
            shares = 100 * inspection.attention[block].mean(0)
            for axes, frame, picture, share in zip(frame_axes, query.frames, lq, shares, strict=True):
                show(
                    axes,
                    picture,
                    f"frame {frame}\n{share.sum():.0f} %",
                    cmap="gray",
                    vmin=FAINT[0],
                    vmax=FAINT[1],
                )
                _veil(axes, share)
            edge = query.patch
            draw_box(
                frame_axes[query.window_index], query.column * edge - left, query.row * edge - top, edge, edge
            )
        if shown:
            colours = ScalarMappable(SHARES, "magma")
            label = "share of the token's attention (%)"
            colour_bar(figure, colours, label, extend="min", alpha=VEIL, format="{x:g}")


def _veil(axes: Axes, share: np.ndarray) -> None:
    """Colour each patch of the picture in the axes by its share (rows, columns) in percent."""
    left, right, bottom, top = *axes.get_xlim(), *axes.get_ylim()
    axes.imshow(
        np.maximum(share, MIN_SHARE),  # a logarithm knows no zero
        cmap="magma",
        norm=SHARES,
        alpha=VEIL,
        extent=(left, right, bottom, top),
        aspect="auto",
        interpolation="nearest",
    )
