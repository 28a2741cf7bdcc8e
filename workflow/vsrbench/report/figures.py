"""Figures of a study's numbers: quality against cost, training, differences from the full model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from models.baselines import BASELINES
from vsrbench.core.config import load_variant
from vsrbench.core.lineage import check, origin
from vsrbench.core.metric_table import METRICS
from vsrbench.data.registry import headline_metric
from vsrbench.report import plot_style
from vsrbench.report.example_selection import find_examples
from vsrbench.report.figure_list import figures_of
from vsrbench.report.frame_figures import draw_comparison, draw_errors, draw_profiles
from vsrbench.report.network_figures import draw_attention, draw_flow, find_inspections
from vsrbench.report.tables import budget_table, tidy_table, wide_table
from vsrbench.results.run_records import read_history
from vsrbench.results.statistics import pair
from vsrbench.results.study_results import Exclusion, Results, StudyFiles, read_results, run_of


def make_figures(
    files: StudyFiles, folder: Path, margin: float = Results.margin, exclude: Sequence[Exclusion] = ()
) -> None:
    """Write the figures that `figure_list.figures_of` names as SVG and PNG.

    Restored frames lie in the folders named like the evaluations, training logs beside the provenance.
    """
    logs = _training_logs(files)
    frames = [path.with_suffix("") for path in files.evaluations if path.with_suffix("").is_dir()]
    made = origin("make_figures", *files.measured, *files.inspections, *logs.values(), *frames)
    check(*logs.values(), *frames)
    results = read_results(files, margin, exclude)
    tidy = tidy_table(results)
    logs = {run: log for run, log in logs.items() if run[0] in results.variants}
    examples = find_examples(results, files)
    seen = find_inspections(examples, files.inspections)
    drawing = {
        "differences": partial(draw_differences, tidy, margin),
        "costs": partial(draw_costs, wide_table(results, tidy)),
        "comparison": partial(draw_comparison, examples),
        "errors": partial(draw_errors, examples),
        "profiles": partial(draw_profiles, examples),
        "flow": partial(draw_flow, seen),
        "attention": partial(draw_attention, seen),
        "clips": partial(draw_clips, results),
        "budgets": partial(draw_budgets, budget_table(results), margin),
        "tuning": partial(draw_tuning, results.tuning),
        "training": partial(draw_training, logs),
    }
    parts = {"budgets": results.shorter, "tuning": results.tuning, "training": logs}
    for name in figures_of(results.variants, **{part: bool(found) for part, found in parts.items()}):
        drawing[name](folder / name)
        made.record(*((folder / name).with_suffix(suffix) for suffix in (".svg", ".png")))


def draw_costs(wide: pd.DataFrame, path: Path) -> None:
    """PSNR against runtime and against parameters, one row for each data set, with the Pareto front.

    Bars: standard deviation over seeds, quartiles of the runtime. A time that was measured on a disturbed
    machine has an empty face, and no part in the Pareto front.
    """
    datasets = wide["dataset"].unique()
    with plot_style.figure(path, 8.6, 2.7 * len(datasets)) as figure:
        grid = figure.subplots(len(datasets), 2, sharex="col", sharey="row", squeeze=False)
        for row, dataset in zip(grid, datasets, strict=True):
            metric = headline_metric(dataset)
            scores = wide[wide["dataset"] == dataset].set_index("variant")
            for axes, cost in zip(row, ("latency_ms", "parameters_m"), strict=True):
                _draw_cost(axes, scores, metric, cost)
            row[0].set(title=dataset, ylabel=METRICS[metric].label_with_unit)
            names = scores.index[scores["parameters_m"].notna()]
            places = zip(scores.loc[names, "parameters_m"], scores.loc[names, metric], names, strict=True)
            plot_style.label_points(row[1], list(places))
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
        grid[-1, 0].set_xlabel("time per output frame (ms)")
        grid[-1, 1].set_xlabel("parameters (M)")


def _draw_cost(axes: Axes, scores: pd.DataFrame, metric: str, cost: str) -> None:
    networks = scores[scores[cost].notna()]
    x, y = networks[cost], networks[metric]
    bars: dict[str, Any] = {"yerr": networks[f"{metric}_spread"].fillna(0)}
    if cost == "latency_ms":
        bars["xerr"] = [x - networks["latency_ms_q25"], networks["latency_ms_q75"] - x]
    axes.errorbar(x, y, **bars, fmt="none", ecolor=plot_style.BASELINE, elinewidth=0.8, zorder=2)
    disturbed = networks["disturbed"].notna() & (cost == "latency_ms")
    for name in networks.index:
        look = plot_style.marker(name)
        if disturbed[name]:
            look |= {"markerfacecolor": "white", "markeredgecolor": plot_style.colour(name)}
        axes.plot(x[name], y[name], **look, zorder=4 if name == "full" else 3)
    if disturbed.any():
        axes.plot(
            [], [], "o", markerfacecolor="white", color=plot_style.INK, label="disturbed: do not compare"
        )
    if not disturbed.all():
        front = pareto_front(x[~disturbed], y[~disturbed])
        axes.step(*front, where="post", **plot_style.GUIDE, zorder=1, label="Pareto front")
    for name in scores.index.intersection(list(BASELINES)):
        axes.axhline(scores.loc[name, metric], color=plot_style.BASELINE, linestyle=":", label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.1)
    axes.autoscale_view()


def pareto_front(cost: pd.Series, score: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Costs and scores, by rising cost, of what nothing beats that costs as little."""
    order = np.lexsort((-score, cost))
    costs, scores = cost.to_numpy()[order], score.to_numpy()[order]
    best = np.concatenate([[True], scores[1:] > np.maximum.accumulate(scores)[:-1]])
    return costs[best], scores[best]


def _training_logs(files: StudyFiles) -> dict[tuple[str, int], Path]:
    """Return the log of each (variant, seed) that was trained, and not loaded from a checkpoint."""
    loaded = {path.stem for path in files.configs if load_variant(path).weights}
    runs = {run_of(path): path.with_name("train.jsonl") for path in files.provenance}
    return {run: log for run, log in runs.items() if run[0] not in loaded}


def draw_training(logs: dict[tuple[str, int], Path], path: Path) -> None:
    """Every variant's training beside the full model's: mean over seeds, band from the lowest to the highest.

    PSNR on the validation crops, or the loss where a run was validated less than four times.
    """
    histories = {run: pd.DataFrame.from_dict(read_history(log), orient="index") for run, log in logs.items()}
    histories = {run: history for run, history in histories.items() if not history.empty}
    key, label = "validation_psnr_rgb", "validation PSNR RGB (dB)"
    if min((history.get(key, pd.Series()).count() for history in histories.values()), default=0) < 4:
        key, label = "loss", "training loss"
    curves = {
        variant: pd.DataFrame(
            {run[1]: histories[run].reindex(columns=[key])[key] for run in histories if run[0] == variant}
        ).dropna()
        for variant, _ in histories
    }
    variants = [name for name in curves if name != "full"] or ["full"]
    columns = min(5, len(variants))
    rows = -(-len(variants) // columns)
    with plot_style.figure(path, 1.9 * columns + 0.5, 1.7 * rows + 0.4) as figure:
        panels = _panels(figure, len(variants), rows, columns)
        for axes, variant in zip(panels, variants, strict=True):
            for name in dict.fromkeys(("full", variant)):
                if name not in curves:  # it was not trained here
                    continue
                low, high = curves[name].min(axis=1), curves[name].max(axis=1)
                axes.fill_between(
                    low.index, low, high, color=plot_style.colour(name), alpha=0.25, linewidth=0
                )
                axes.add_line(plot_style.line(name, curves[name].mean(axis=1)))
            axes.set_title(variant, fontsize=7)
            if key == "loss":
                axes.set_yscale("log")
        lines = [plot_style.line(name) for name in ("full", "variant")]
        figure.legend(lines, ["full", "variant"], loc="outside upper right", ncols=2)
        figure.supxlabel("iteration", fontsize=8)
        figure.supylabel(label, fontsize=8)


def _panels(figure: Figure, number: int, rows: int, columns: int) -> list[Axes]:
    """Return the first panels of a grid with common axes; the remaining places stay empty."""
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[number:]:
        axes.set_axis_off()
    panels = list(grid.flat[:number])
    for axes in panels[-columns:]:
        axes.tick_params(labelbottom=True)  # also above a place that is empty
    return panels


_FACES = {
    "better": plot_style.VARIANT,
    "worse": plot_style.VARIANT,
    "equivalent": plot_style.BASELINE,
}


def draw_differences(tidy: pd.DataFrame, margin: float, path: Path) -> None:
    """Every variant's difference from the full model with its 95 % interval, its face by the verdict."""
    shown = tidy[tidy["headline"] & tidy["difference"].notna()].reset_index()
    shown = shown[~shown["variant"].isin(list(BASELINES))]
    names = list(dict.fromkeys(shown["variant"]))
    datasets = list(tidy.index.unique("dataset"))
    with _by_dataset(path, datasets, names) as panels:
        for axes, dataset in zip(panels, datasets, strict=True):
            for row in shown[shown["dataset"] == dataset].itertuples():
                height = names.index(row.variant)
                axes.hlines(height, row.low, row.high, color=plot_style.INK, linewidth=1.1, zorder=2)
                face = _FACES.get(row.verdict, "white")
                axes.plot(
                    row.difference, height, "o", color=plot_style.VARIANT, markerfacecolor=face, zorder=3
                )
            axes.axvspan(-margin, margin, color=plot_style.BASELINE, alpha=0.15, linewidth=0, zorder=0)
            axes.set(
                title=dataset,
                xlabel=_difference_label(dataset),
            )


def draw_budgets(table: pd.DataFrame, margin: float, path: Path) -> None:
    """Every variant's difference from the full model, with its 95 % interval, against the training budget."""
    datasets = list(table["dataset"].unique())
    names = [name for name in table["variant"].unique() if name != "full"]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with plot_style.figure(path, 2.1 * columns + 0.6, (1.8 * rows + 0.4) * len(datasets)) as figure:
        grid = figure.subplots(rows * len(datasets), columns, sharex=True, sharey="row", squeeze=False)
        panels = grid.reshape(len(datasets), -1)
        for dataset, line in zip(datasets, panels, strict=True):
            found = table[table["dataset"] == dataset].set_index("variant")
            for axes in line[len(names) :]:
                axes.set_axis_off()
            for axes, name in zip(line, names, strict=False):
                axes.set_title(f"{name}, {dataset}", fontsize=7)
                axes.axhspan(-margin, margin, color=plot_style.BASELINE, alpha=0.15, linewidth=0)
                axes.axhline(0, color=plot_style.FULL, linewidth=1.2)
                if name in found.index:
                    _draw_budget(axes, found.loc[[name]])
            line[0].set_ylabel(_difference_label(dataset), fontsize=7)
        figure.supxlabel("iterations of training", fontsize=8)


def _draw_budget(axes: Axes, rows: pd.DataFrame) -> None:
    x = rows["iterations"]
    axes.vlines(x, rows["low"], rows["high"], color=plot_style.INK, linewidth=1.1, zorder=2)
    axes.plot(x, rows["difference"], color=plot_style.VARIANT, linewidth=0.8, zorder=2)
    for row in cast("Iterator[Any]", rows.itertuples()):
        face = _FACES.get(row.verdict, "white")
        axes.plot(
            row.iterations, row.difference, "o", color=plot_style.VARIANT, markerfacecolor=face, zorder=3
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [f"{count:,}" for count in x])
    axes.minorticks_off()


def draw_tuning(sweeps: dict[str, dict[str, Any]], path: Path) -> None:
    """Plot validation PSNR against learning rate: each training, the mean over seeds, the rate chosen."""
    columns = min(4, len(sweeps))
    rows = -(-len(sweeps) // columns)
    with plot_style.figure(path, 2.1 * columns + 0.6, 1.9 * rows + 0.5) as figure:
        panels = _panels(figure, len(sweeps), rows, columns)
        for axes, (name, sweep) in zip(panels, sweeps.items(), strict=True):
            scores = pd.DataFrame(sweep["trainings"]).astype({"score": float})
            means = scores.groupby("learning_rate")["score"].agg(lambda values: values.mean(skipna=False))
            axes.plot(scores["learning_rate"], scores["score"], ".", color=plot_style.BASELINE, markersize=4)
            axes.plot(means.index, means, color=plot_style.VARIANT, linewidth=1)
            chosen = sweep["learning_rate"]
            axes.plot(chosen, means[chosen], "o", color=plot_style.VARIANT)
            for rate in means.index[means.isna()]:
                axes.annotate(
                    "diverged", (rate, 0.02), xycoords=("data", "axes fraction"), fontsize=6, rotation=90
                )
            axes.set_title(name, fontsize=7)
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(means.index), [f"{rate:g}" for rate in means.index], fontsize=6)
            axes.minorticks_off()
        figure.supxlabel("peak learning rate", fontsize=8)
        figure.supylabel("validation PSNR RGB (dB)", fontsize=8)


def draw_clips(results: Results, path: Path) -> None:
    """Difference from the full model on every clip: mean over seeds, line from the lowest to the highest."""
    clips = results.clips
    names = [name for name in results.names if name not in ("full", *BASELINES)]
    with _by_dataset(path, results.datasets, names) as panels:
        for axes, dataset in zip(panels, results.datasets, strict=True):
            scores = cast("pd.Series", clips.loc[dataset, headline_metric(dataset)]).unstack("clip")
            for height, name in enumerate(names):
                if name not in scores.index:
                    continue
                differences = pair(*(cast("pd.DataFrame", scores.loc[each]) for each in (name, "full")))
                spots = height + np.linspace(-0.28, 0.28, differences.shape[1] + 2)[1:-1]
                many = len(spots) > 99  # an SVG of a data set's clips would be megabytes
                low, high = differences.min(), differences.max()
                axes.hlines(spots, low, high, color=plot_style.BASELINE, linewidth=0.8, rasterized=many)
                axes.plot(
                    differences.mean(), spots, ".", color=plot_style.VARIANT, markersize=4, rasterized=many
                )
            axes.set(
                title=dataset,
                xlabel=_difference_label(dataset),
            )


def _difference_label(dataset: str) -> str:
    metric = METRICS[headline_metric(dataset)]
    return f"{metric.label} minus full's ({metric.unit})"


@contextmanager
def _by_dataset(path: Path, datasets: list[str], names: list[str]) -> Iterator[np.ndarray]:
    """Panels side by side for the data sets, with the variants as common rows and a line at no difference."""
    with plot_style.figure(path, 2.0 + 2.8 * len(datasets), 0.8 + 0.24 * len(names)) as figure:
        panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
        yield panels
        for axes in panels:
            axes.axvline(0, color=plot_style.FULL, linewidth=1.2, zorder=1)
            axes.locator_params(axis="x", nbins=5)  # numbers like -0.0025 need the space
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
