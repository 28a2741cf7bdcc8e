"""What the trainings and gradients of a study of k-patterns say: tables, figures and a report."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import binomtest

from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import check, origin
from vsrbench.patterns.study import LAYERS
from vsrbench.report.html_report import read_figure, render_page
from vsrbench.report.plot_style import FAINT, INK, figure
from vsrbench.report.table_formats import Cell, Row, Table

LEARNT = 0.99
STUCK = 0.55  # accuracy at the end, below which nothing was learnt: a constant answer has 0.5
CELL = ["layer", "optimiser", "n", "function", "k"]
OPTIMISERS = {"sgd": "gradient descent", "adam": "Adam"}
FUNCTIONS = {"parity": "parity", "random": "random g"}
LOOKS = {
    "convolutional": ("#08306b", "-", "s"),
    "fully_connected": ("#d55e00", (0, (4, 1.5)), "o"),
    "fully_connected_wide": ("#e69f00", (0, (1, 1)), "o"),
    "stcsa": ("#4292c6", "-", "D"),
    "fcsa": ("#cc79a7", (0, (4, 1.5)), "v"),
}


def read_trainings(runs: list[Path]) -> pd.DataFrame:
    """Read the rows of all trainings, with the file that each comes from as `run`."""
    check(*runs)
    return pd.concat(
        [pd.read_csv(path).assign(run="/".join(path.parts[-3:])) for path in runs], ignore_index=True
    )


def tabulate_trainings(trainings: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each training but the tuning ones: steps to 99 %, empty where it was not reached.

    One that diverged has no accuracy.
    """
    kept = trainings[~trainings.tuning]
    ends = kept.sort_values("step").groupby([*CELL, "seed"], sort=False).tail(1)
    steps = ends.step.where(ends.accuracy >= LEARNT).astype("Int64")
    accuracy = ends.accuracy.where(np.isfinite(ends.loss))
    table = ends.assign(steps_to_learn=steps, accuracy=accuracy).rename(columns={"step": "steps"})
    columns = [*CELL, "seed", "rate", "parameters", "steps_to_learn", "steps", "accuracy", "loss", "run"]
    return table[columns].sort_values([*CELL, "seed"], ignore_index=True)


def tabulate_cells(table: pd.DataFrame, rates: dict[str, list[float]]) -> pd.DataFrame:
    """Return a row for each cell: how many seeds learnt, the share's 95 % interval, and the median steps.

    `diverged` counts the seeds whose loss did not stay finite; `accuracy` is the mean of the others.

    The interval is Clopper's and Pearson's. The median counts a seed that did not learn as slower than any
    that did, and is empty where it did not. `rate_at_edge` says whether the chosen rate is the smallest or
    largest that was tried.
    """
    rows = []
    for cell, group in table.groupby(CELL, sort=False):
        learnt = int(group.steps_to_learn.notna().sum())
        share = binomtest(learnt, len(group)).proportion_ci(0.95)
        steps = group.steps_to_learn.astype(float).fillna(math.inf)
        rate, tried = group.rate.iloc[0], rates[group.optimiser.iloc[0]]
        rows.append(
            dict(zip(CELL, cell, strict=True))
            | {
                "parameters": group.parameters.iloc[0],
                "seeds": len(group),
                "learnt": learnt,
                "learnt_low": share.low,
                "learnt_high": share.high,
                "diverged": int(group.accuracy.isna().sum()),
                "median_steps": np.median(steps) if np.isfinite(np.median(steps)) else None,
                "accuracy": group.accuracy.mean(),
                "rate": rate,
                "rate_at_edge": rate in (min(tried), max(tried)),
            }
        )
    return pd.DataFrame(rows)


def describe(cells: pd.DataFrame, steps: int) -> str:
    """Return the cells as text: median steps to 99 %, or how many of the seeds got there."""
    blocks = [
        f"{heading}\n{wide.reset_index().to_string(index=False)}" for heading, wide in _blocks(cells).items()
    ]
    return "\n\n".join([*blocks, _legend_of_cells(steps)]) + "\n"


def _legend_of_cells(steps: int) -> str:
    return (
        f"Median steps of the seeds to 99 %; `r of s`: only r of s seeds got there within {steps:,} steps;\n"
        f"none: the accuracy at the end, where it did not diverge, or `stuck` below {100 * STUCK:.0f} %,\n"
        "where a constant answer has 50 %."
    )


def _blocks(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Words of each cell by function and optimiser: a row for each layer and n, a column for each k."""
    words = [
        _say(learnt, seeds, median, accuracy)
        for learnt, seeds, median, accuracy in zip(
            cells.learnt, cells.seeds, cells.median_steps, cells.accuracy, strict=True
        )
    ]
    shown = cells.assign(cell=words, order=cells.layer.map(list(LAYERS).index))
    blocks = {}
    for optimiser, function in itertools.product(OPTIMISERS, FUNCTIONS):
        group = shown[(shown.optimiser == optimiser) & (shown.function == function)]
        if group.empty:
            continue
        wide = group.pivot(index=["order", "layer", "n"], columns="k", values="cell").fillna("–").sort_index()
        wide.columns = [f"k = {k}" for k in wide.columns]
        blocks[f"{FUNCTIONS[function]}, {OPTIMISERS[optimiser]}"] = wide.droplevel("order")
    return blocks


def _say(learnt: int, seeds: int, median: float, accuracy: float) -> str:
    if learnt == seeds:
        return f"{median:,.0f}"
    if learnt:
        return f"{learnt} of {seeds}"
    if math.isnan(accuracy):
        return "diverged"
    return "stuck" if accuracy < STUCK else f"{100 * accuracy:.0f} %"


def draw_steps(path: Path, cells: pd.DataFrame, function: str, steps: int) -> None:
    """Draw steps to 99 % over n, a row for each optimiser and a column for each k; crosses did not learn."""
    shown = cells[cells.function == function]
    optimisers = [name for name in OPTIMISERS if name in set(shown.optimiser)]
    ks = sorted(shown.k.unique())
    with figure(path, 1.9 * len(ks) + 1.6, 1.75 * len(optimisers) + 0.4) as drawn:
        grid = drawn.subplots(len(optimisers), len(ks), sharex=True, sharey=True, squeeze=False)
        for panels, optimiser in zip(grid, optimisers, strict=True):
            for axes, k in zip(panels, ks, strict=True):
                _draw_cell(axes, shown[(shown.optimiser == optimiser) & (shown.k == k)], steps)
                if optimiser == optimisers[0]:
                    axes.set_title(f"k = {k}")
                if optimiser == optimisers[-1]:
                    axes.set_xlabel("n, bits")
            panels[0].set_ylabel(f"{OPTIMISERS[optimiser]}\nsteps to 99 %")
        handles, labels = _legend(grid[0][0], [name for name in LAYERS if name in set(shown.layer)])
        drawn.legend(handles, labels, loc="outside right upper", fontsize=7)


def _draw_cell(axes: Axes, cells: pd.DataFrame, steps: int) -> None:
    stuck = 1.6 * steps
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.axhspan(1.2 * steps, 2.1 * steps, color=FAINT, linewidth=0)
    axes.set_ylim(40, 2.1 * steps)
    for layer in cells.layer.unique():
        group = cells[cells.layer == layer].sort_values("n")
        colour, dashes, marker = LOOKS[layer]
        offset = 2 ** (0.14 * (list(LAYERS).index(layer) - 2))  # crosses of several layers lie side by side
        learnt = group[group.median_steps.notna()]
        axes.plot(
            learnt.n, learnt.median_steps, color=colour, linestyle=dashes, marker=marker, markersize=3.5
        )
        missed = group[group.median_steps.isna()]
        axes.plot(missed.n * offset, np.full(len(missed), stuck), "x", color=colour, markersize=4)
    axes.set_xticks(sorted(cells.n.unique()), [str(n) for n in sorted(cells.n.unique())])
    axes.minorticks_off()
    axes.set_yticks([100, 1000], ["100", "1,000"])


def _legend(axes: Axes, layers: list[str]) -> tuple[list, list[str]]:
    handles = []
    for layer in layers:
        colour, dashes, marker = LOOKS[layer]
        handles += axes.plot([], [], color=colour, linestyle=dashes, marker=marker, markersize=3.5)
    handles += axes.plot([], [], "x", color=INK, markersize=4)
    return handles, [*(layer.replace("_", " ") for layer in layers), "most seeds not\nwithin the budget"]


def draw_gradients(path: Path, gradients: pd.DataFrame) -> None:
    """Draw the squared gradient at initialisation over n, for each k, beside the bound of the dense layer."""
    ks = sorted(gradients.k.unique())
    with figure(path, 1.9 * len(ks) + 1.6, 2.4) as drawn:
        grid = drawn.subplots(1, len(ks), sharex=True, sharey=True, squeeze=False)[0]
        for axes, k in zip(grid, ks, strict=True):
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            for layer in ("convolutional", "fully_connected"):
                rows = gradients[(gradients.k == k) & (gradients.layer == layer)].sort_values("n")
                colour, dashes, marker = LOOKS[layer]
                error = 1.96 * rows.standard_error
                axes.errorbar(
                    rows.n,
                    rows.squared_gradient,
                    error,
                    color=colour,
                    linestyle=dashes,
                    marker=marker,
                    markersize=3.5,
                    label=layer.replace("_", " "),
                )
            limits = gradients[(gradients.k == k) & gradients.bound.notna()].sort_values("n")
            axes.plot(limits.n, limits.bound, color=INK, linewidth=0.8, linestyle=":", label="its bound")
            axes.set_title(f"k = {k}")
            axes.set_xlabel("n, bits")
            axes.set_xticks(sorted(gradients.n.unique()), [str(n) for n in sorted(gradients.n.unique())])
            axes.minorticks_off()
        grid[0].set_ylabel("squared gradient\nat initialisation")
        handles, labels = grid[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside right upper", fontsize=7)


def _steps_table(cells: pd.DataFrame, steps: int) -> Table:
    blocks = _blocks(cells)
    header = [(column, "") for column in next(iter(blocks.values())).columns]
    groups = {
        heading: [Row(f"{layer}, n = {n}", list(map(Cell, words))) for (layer, n), words in _words(wide)]
        for heading, wide in blocks.items()
    }
    return Table("Steps to 99 %", header, groups, remark=_legend_of_cells(steps).replace("`", ""))


def _words(wide: pd.DataFrame) -> Iterator[tuple[tuple[str, int], list[str]]]:
    return zip(wide.index, wide.to_numpy().tolist(), strict=True)


def _gradients_table(gradients: pd.DataFrame) -> Table:
    ks = sorted(gradients.k.unique())
    rows = []
    for (layer, n), group in gradients.groupby(["layer", "n"]):
        of_k = group.set_index("k")
        cells = [
            Cell(f"{of_k.squared_gradient[k]:.1e} ± {of_k.standard_error[k]:.0e}")
            if k in of_k.index
            else Cell("–")
            for k in ks
        ]
        rows.append(Row(f"{layer}, n = {n}", cells))
    remark = "Squared gradient of a parity, mean and standard error over initialisations."
    return Table("The gradient at initialisation", [(f"k = {k}", "") for k in ks], {"": rows}, remark=remark)


def _write_report(page: Path, title: str, cells: pd.DataFrame, gradients: pd.DataFrame, steps: int) -> None:
    pictures = [f"steps_{function}" for function in cells.function.unique()] + ["gradients"]
    text = render_page(
        "k_patterns.html.jinja",
        title=title,
        study=page.parent.name,
        tables=[_steps_table(cells, steps), _gradients_table(gradients)],
        figures=[read_figure(page.parent / "figures" / f"{name}.svg") for name in pictures],
    )
    with atomic_write(page) as partial:
        partial.write_text(text)


def summarise(*, runs: list[Path], gradients: Path, title: str, out: Path) -> None:
    """Write `out/tables/`, `out/figures/` and `out/report.html` from the files of trainings and gradients.

    Each file of trainings has its provenance beside it.
    """
    check(gradients)
    made = origin("summarise_patterns", *runs, *(path.with_suffix(".json") for path in runs), gradients)
    trainings = read_trainings(runs)
    steps = int(trainings.step.max())
    rates = {
        name: sorted(trainings[trainings.optimiser == name].rate.unique())
        for name in trainings.optimiser.unique()
    }
    table = tabulate_trainings(trainings)
    cells = tabulate_cells(table, rates)
    measured = pd.read_csv(gradients)
    written = []
    for name, frame in (("trainings", table), ("cells", cells), ("gradients", measured)):
        written.append(out / "tables" / f"{name}.csv")
        with atomic_write(written[-1]) as partial:
            frame.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    written.append(out / "tables" / "cells.txt")
    with atomic_write(written[-1]) as partial:
        partial.write_text(describe(cells, steps))
    for function in table.function.unique():
        draw_steps(out / "figures" / f"steps_{function}", cells, function, steps)
    draw_gradients(out / "figures" / "gradients", measured)
    written += sorted((out / "figures").glob("*.*"))
    written.append(out / "report.html")
    _write_report(written[-1], title, cells, measured, steps)
    made.record(*written)
