"""How far the networks of a study look, side by side: a table with intervals over seeds, and a picture."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from safetensors import safe_open
from scipy import stats

from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import check, origin
from vsrbench.report.plot_style import figure
from vsrbench.report.table_formats import Cell, Row, Table

LEAST = 1e-6  # share of the energy that can be told from none
SHOWN = LogNorm(LEAST, 1e-1)
_FAR = 3  # index of the class of distances from 8 LQ pixels on

Facts = dict[str, Any]

_LEGEND = (
    "other frames, beyond 8 px: share of the middle pixel's gradient energy outside its frame, and from 8 LQ "
    "pixels on, after training and before (initial). attention: mean distance of the middle token's shares "
    "in LQ pixels and frames, and their entropy (1: all alike). confined to: change of PSNR RGB in dB where "
    "the trained network's attention is confined. In brackets 95 % intervals over seeds."
)

# What is read from a network's facts, by column; None where a network has nothing to tell.
QUANTITIES: dict[str, Callable[[Facts], float | None]] = {
    "other_frames": lambda facts: 1 - sum(facts["trained_energy"][0]),
    "other_frames_initial": lambda facts: 1 - sum(facts["initial_energy"][0]),
    "beyond_8_px": lambda facts: sum(sum(row[_FAR:]) for row in facts["trained_energy"]),
    "beyond_8_px_initial": lambda facts: sum(sum(row[_FAR:]) for row in facts["initial_energy"]),
    "attention_px": lambda facts: facts.get("trained_pixels"),
    "attention_frames": lambda facts: facts.get("trained_frames"),
    "attention_entropy": lambda facts: facts.get("trained_entropy"),
    "psnr_rgb": lambda facts: facts["psnr_rgb_trained"],
    "confined_to_frame": lambda facts: _cost(facts, "frame"),
    "confined_to_place": lambda facts: _cost(facts, "place"),
    "confined_to_neighbours": lambda facts: _cost(facts, "neighbours"),
}


def compare_reach(*, files: list[Path], out: Path) -> None:
    """Write `out/tables/reach.csv` and `.txt`, and `out/figures/reach.svg` and `.png`."""
    made = origin("compare_reach", *files)
    check(*files)
    found = [read_reach(path) for path in files]
    table = tabulate_reach([facts for facts, _ in found])
    paths = [out / "tables" / f"reach.{suffix}" for suffix in ("csv", "txt")]
    with atomic_write(paths[0]) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    with atomic_write(paths[1]) as partial:
        partial.write_text(describe(table))
    draw_fields(out / "figures" / "reach", found)
    made.record(*paths, *((out / "figures" / "reach").with_suffix(suffix) for suffix in (".svg", ".png")))


def read_reach(path: Path) -> tuple[Facts, dict[str, np.ndarray]]:
    """Read the facts and the fields (t, h, w) of one network."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()["facts"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict


def tabulate_reach(facts: list[Facts]) -> pd.DataFrame:
    """Return a row for each data set, variant and quantity: mean over seeds and its 95 % t interval."""
    rows = []
    names = list(dict.fromkeys((each["dataset"], each["variant"]) for each in facts))
    for dataset, variant in names:
        own = [each for each in facts if (each["dataset"], each["variant"]) == (dataset, variant)]
        for quantity, read in QUANTITIES.items():
            values = [value for each in own if (value := read(each)) is not None]
            if not values:
                continue
            half = np.nan
            if len(values) > 1:
                half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
            mean = float(np.mean(values))
            rows.append(
                {
                    "dataset": dataset,
                    "variant": variant,
                    "quantity": quantity,
                    "seeds": len(values),
                    "mean": mean,
                    "low": mean - half,
                    "high": mean + half,
                    "runs": " ".join(f"{variant}/seed_{each['seed']}" for each in own),
                }
            )
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame) -> str:
    """Return the table as text: mean and interval of each quantity, a row for each variant."""
    words = [
        f"{mean:.3g} [{low:.3g}, {high:.3g}]"
        for mean, low, high in zip(table["mean"], table["low"], table["high"], strict=True)
    ]
    wide = table.assign(text=words).pivot(index=["dataset", "variant"], columns="quantity", values="text")
    order = list(dict.fromkeys(zip(table.dataset, table.variant, strict=True)))
    wide = wide.reindex(index=order, columns=list(QUANTITIES)).fillna("–")
    return f"{wide.T.to_string()}\n\n{textwrap.fill(_LEGEND, 100)}\n"


def reach_table(table: pd.DataFrame) -> Table:
    """Lay `reach.csv` out for the report: a row for each variant."""
    groups: dict[str, list[Row]] = {}
    for (dataset, variant), rows in table.groupby(["dataset", "variant"], sort=False):
        found = rows.set_index("quantity")
        cells = [
            Cell(f"{found['mean'][name]:.3g} [{found['low'][name]:.3g}, {found['high'][name]:.3g}]")
            if name in found.index
            else Cell("–")
            for name in QUANTITIES
        ]
        groups.setdefault(str(dataset), []).append(Row(str(variant), cells))
    header = [(name.replace("_", " "), "") for name in QUANTITIES]
    return Table("Reach", header, groups, remark=_LEGEND)


def draw_fields(path: Path, found: list[tuple[Facts, dict[str, np.ndarray]]]) -> None:
    """Draw the receptive fields, means over seeds: a row for each variant, the frames side by side.

    On the right, the middle frame before training.
    """
    names = list(dict.fromkeys((facts["dataset"], facts["variant"]) for facts, _ in found))
    longest = max(len(fields["trained"]) for _, fields in found)
    with figure(path, 1.15 * (longest + 1) + 1.0, 1.2 * len(names) + 0.5) as drawn:
        grid = drawn.subplots(len(names), longest + 1, squeeze=False)
        for panels, name in zip(grid, names, strict=True):
            own = [fields for facts, fields in found if (facts["dataset"], facts["variant"]) == name]
            trained, initial = (
                np.mean([fields[kind] for fields in own], axis=0) for kind in ("trained", "initial")
            )
            first = (longest - len(trained)) // 2
            for axes in panels:
                axes.set_axis_off()
            middle = len(trained) // 2
            for index, field in enumerate(trained):
                _show(panels[first + index], field, f"frame {index - middle:+d}")
            _show(panels[-1], initial[middle], "+0, untrained")
            panels[0].text(-0.05, 1.3, name[1], transform=panels[0].transAxes, fontsize=8, fontweight="bold")
        drawn.colorbar(
            ScalarMappable(SHOWN, "magma"), ax=grid, label="share of the gradient's energy", shrink=0.6
        )


def _show(axes: Axes, field: np.ndarray, title: str) -> None:
    axes.imshow(np.maximum(field, LEAST), norm=SHOWN, cmap="magma")
    axes.set_title(title, fontsize=7, fontweight="normal")


def _cost(facts: Facts, reach: str) -> float | None:
    confined = facts.get(f"psnr_rgb_{reach}")
    return None if confined is None else confined - facts["psnr_rgb_trained"]
