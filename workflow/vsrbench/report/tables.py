"""The ablation table of a study: every variant against the full model, with what it costs.

`ablations.csv` has a row for each data set and variant, `ablations_tidy.csv` one for each metric as well.
They name the runs behind every row and hold what the other formats round or leave out.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any, cast

import numpy as np
import pandas as pd

from models.baselines import BASELINES
from vsrbench.core.claims import claims_of
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.core.metric_table import METRICS, SHOWN
from vsrbench.data.registry import headline_metric
from vsrbench.report.footnotes import find_remarks, given_exact_flow
from vsrbench.report.published_scores import PUBLISHED, compare_with_published, published_table
from vsrbench.report.table_formats import Cell, Note, Row, Table, to_latex, to_markdown, to_text
from vsrbench.results.statistics import (
    average_frames,
    compare_with_full,
    factorial_effects,
    rank_variants,
    summarise,
)
from vsrbench.results.study_results import Exclusion, Results, StudyFiles, read_results
from vsrbench.results.verdicts import judge_claims

EFFECTS = "Main effects and interactions"
COSTS = ("parameters_m", "gflops_per_frame", "latency_ms", "peak_memory_gib")
_HEADER = [
    ("params", "M"),
    ("ops", "GFLOP"),
    ("time", "ms"),
    ("mem", "GiB"),
    *((METRICS[name].label, METRICS[name].unit) for name in SHOWN),
    ("PSNR minus full's", "dB [95 %]"),
]


def make_tables(
    files: StudyFiles,
    folder: Path,
    *,
    title: str,
    note: str,
    margin: float = Results.margin,
    exclude: Sequence[Exclusion] = (),
    published: Path = PUBLISHED,
) -> None:
    """Write `ablations.{csv,md,tex,txt}`, `ablations_tidy.csv`, `factorial.csv`, `budgets.csv`, `claims.csv`
    and `published.{csv,md}`.

    `title`, `note`, `margin` (dB) and `exclude` are the study's; `published` lists the published scores.
    """
    made = origin("make_tables", *files.measured)
    results = read_results(files, margin, exclude)
    tidy = tidy_table(results)
    factorial = factorial_table(results)
    table = ablation_table(results, tidy, title, note)
    budgets = budget_table(results)
    compared = compare_with_published(results, published)
    pages = {
        "ablations.csv": wide_table(results, tidy).to_csv(index=False),
        "ablations_tidy.csv": tidy.reset_index().to_csv(index=False),
        "factorial.csv": factorial.to_csv(index=False),
        "budgets.csv": budgets.to_csv(index=False),
        "claims.csv": judge_claims(results, claims_of(results.study)).to_csv(index=False),
        "ablations.md": "\n".join(map(to_markdown, [table, *further_tables(factorial, budgets)])),
        "ablations.tex": to_latex(table, label="tab:ablations"),
        "ablations.txt": to_text(table),
        "published.csv": compared.to_csv(index=False),
        "published.md": to_markdown(published_table(results, compared)),
    }
    for name, page in pages.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(page)
    made.record(*(folder / name for name in pages))


def tidy_table(results: Results) -> pd.DataFrame:
    """Index (dataset, variant, metric): mean, spread, difference from full and its tests, runs behind them.

    `headline` marks the metric that the data set is published in; `frame_mean` and `infinite` are those of
    `statistics.average_frames`, differences and verdicts those of `statistics.compare_with_full`. `runs` and
    `evaluations` are paths in the study's folder.
    """
    clips = results.clips
    compared = compare_with_full(clips, results.sources, results.margin)
    table = summarise(clips).join(average_frames(results.rows)).join(compared)
    table["headline"] = [metric == headline_metric(dataset) for dataset, _, metric in table.index]
    table = table.reset_index("metric").join(_facts(results)).set_index("metric", append=True)
    order = [
        (dataset, variant, metric)
        for dataset in results.datasets
        for variant in results.names
        for metric in METRICS
    ]
    return table.reindex([row for row in order if row in table.index])


def _facts(results: Results) -> pd.DataFrame:
    """Return what is the same for every metric of a (dataset, variant)."""
    facts = {}
    for (dataset, variant), rows in results.rows.groupby(["dataset", "variant"]):
        seeds = sorted(rows["seed"].unique())
        facts[dataset, variant] = {
            "study": rows["study"].iloc[0],
            "degradation": rows["degradation"].iloc[0],
            "trained_on": rows["trained_on"].iloc[0],
            "clips": rows["clip"].nunique(),
            "frames": len(rows) // len(seeds),
            "code_digests": " ".join(sorted(rows["code_digest"].unique())),
            "evaluations": " ".join(f"evaluations/{dataset}/{variant}/seed_{seed}.csv" for seed in seeds),
            "runs": "" if variant in BASELINES else " ".join(f"runs/{variant}/seed_{seed}" for seed in seeds),
        }
    table = pd.DataFrame.from_dict(facts, orient="index")
    return table.rename_axis(["dataset", "variant"])


def wide_table(results: Results, tidy: pd.DataFrame) -> pd.DataFrame:
    """One row for each data set and variant: facts, costs, and each metric with spread and difference.

    `disturbed` says what disturbed the measurement of the time; it is empty where nothing did.
    """
    facts = tidy.groupby(["dataset", "variant"], sort=False)[["seeds", *_facts(results).columns]].first()
    facts.insert(
        0,
        "title",
        [_title(results, name) for _, name in facts.index],
    )
    costs = pd.DataFrame({name: _costs(results, name) for name in results.names}).T.rename_axis("variant")
    costs["disturbed"] = pd.Series(results.disturbed, dtype=object)
    columns = {"mean": "", "spread": "_spread", "difference": "_difference", "low": "_low", "high": "_high"}
    scores = pd.concat(
        [
            tidy[column].unstack("metric").reindex(columns=list(METRICS)).add_suffix(suffix)
            for column, suffix in columns.items()
        ],
        axis=1,
    )
    scores = scores[[metric + suffix for metric in METRICS for suffix in columns.values()]]
    return facts.join(costs, on="variant").join(scores).reset_index().assign(chain=results.chain)


def _title(results: Results, name: str) -> str:
    return (BASELINES.get(name) or results.variants[name]).title


def _costs(results: Results, name: str) -> dict[str, float]:
    facts = results.runtimes.get(name)
    if facts is None:
        return dict.fromkeys((*COSTS, "latency_ms_q25", "latency_ms_q75"), np.nan)
    memory = facts["peak_memory_gib"]
    return {
        "parameters_m": facts["parameters_m"],
        "gflops_per_frame": facts["gflops_per_frame"],
        "latency_ms": facts["latency_ms"]["median"],
        "peak_memory_gib": facts["peak_rss_gib"] if memory is None else memory,
        "latency_ms_q25": facts["latency_ms"]["q25"],
        "latency_ms_q75": facts["latency_ms"]["q75"],
    }


def factorial_table(results: Results) -> pd.DataFrame:
    """Return main effects and interactions in each data set's own metric, if the variants form a grid."""
    changes = {
        name: {
            key: _hashable(value) for section in variant.changes.values() for key, value in section.items()
        }
        for name, variant in results.variants.items()
    }
    clips = results.clips
    tables = [
        factorial_effects(clips.loc[[dataset]], changes, headline_metric(dataset))
        for dataset in results.datasets
    ]
    return pd.concat(tables, ignore_index=True)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def ablation_table(results: Results, tidy: pd.DataFrame, title: str, note: str) -> Table:
    """Return what `ablations.{md,tex,txt}` show."""
    remarks = find_remarks(results, tidy)
    marked = [remark for remark in remarks if remark.rows]
    letters = dict(zip(marked, _letters(), strict=False))
    notes = [Note(remark.text, letters.get(remark, "")) for remark in remarks]
    scores = {row: rows.droplevel([0, 1]) for row, rows in tidy.groupby(["dataset", "variant"])}
    groups = {}
    for dataset in results.datasets:
        names = [name for name in results.names if (dataset, name) in scores]
        places = _places(results, dataset, names)
        groups[_heading(dataset, scores[dataset, names[0]].iloc[0])] = [
            Row(
                name=name,
                title=_title(results, name),
                cells=_cells(_costs(results, name), scores[dataset, name], places[name]),
                notes=",".join(letters[remark] for remark in marked if (dataset, name) in remark.rows),
            )
            for name in names
        ]
    return Table(title, _HEADER, groups, notes, remark=note, chain=results.chain)


def _letters() -> Iterator[str]:
    """Return a to z, then aa, ab, ..."""
    return chain(ascii_lowercase, map("".join, product(ascii_lowercase, repeat=2)))


def _heading(dataset: str, facts: pd.Series) -> str:
    clips = "1 clip" if facts["clips"] == 1 else f"{facts['clips']} clips"
    seeds = "1 seed" if facts["seeds"] == 1 else f"{facts['seeds']} seeds"
    metric = METRICS[headline_metric(dataset)].label
    return f"{dataset}, {facts['degradation']} x4, {clips}, {seeds}, differences in {metric}"


def _places(results: Results, dataset: str, names: list[str]) -> dict[str, dict[str, int]]:
    """By variant and metric, the place of `statistics.rank_variants`; exact flow takes no part."""
    places: dict[str, dict[str, int]] = {name: {} for name in names}
    ranked = [name for name in names if not given_exact_flow(results.variants.get(name))]
    clips = results.clips.loc[dataset]
    for metric in SHOWN:
        scores = {name: cast("pd.Series", clips.loc[name, metric]).unstack("clip") for name in ranked}
        found = rank_variants(scores, higher_is_better=METRICS[metric].higher_is_better)
        for name, place in found.items():
            places[name][metric] = place
    return places


def _cells(costs: dict[str, float], scores: pd.DataFrame, places: dict[str, int]) -> list[Cell]:
    cells = [Cell(_three_digits(costs[cost])) for cost in COSTS]
    for metric in SHOWN:
        digits = METRICS[metric].digits
        if metric not in scores.index:
            cells.append(Cell("n/a"))
            continue
        mean, spread = scores.loc[metric, ["mean", "spread"]].to_numpy(float)
        text = short = f"{mean:.{digits}f}"
        if not np.isnan(spread):
            text = f"{mean:.{digits}f} ± {spread:.{digits}f}"
            short = text.replace(" ", "") if digits == 2 else short
        cells.append(Cell(text, places.get(metric, 0), short))
    headline = scores[scores["headline"]]
    return [*cells, *(_difference_cell(row) for row in headline.itertuples())]


# What leads a difference in the tables.
VERDICT_MARKS = {"better": "", "worse": "", "equivalent": "≈ ", "open": "? ", "": ""}


def _difference_cell(row: Any) -> Cell:
    if pd.isna(row.difference):
        return Cell("–")
    return Cell(VERDICT_MARKS[row.verdict] + _difference(row.difference, row.low, row.high))


def _difference(difference: float, low: float, high: float) -> str:
    interval = "" if pd.isna(low) else f" [{low:+.2f}, {high:+.2f}]"
    return f"{difference:+.2f}{interval}".replace("-", "−")


def _three_digits(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def budget_table(results: Results) -> pd.DataFrame:
    """Each data set, variant and training budget: headline score, difference from full at the same budget.

    `iterations` is the full model's; `device_hours` are those of one training, averaged over seeds. Holm's
    correction is over the comparisons of one budget. Without rows where the study has a single budget.
    """
    tables = []
    for iterations, part in results.budgets.items() if results.shorter else ():
        tidy = tidy_table(part)
        shown = tidy[tidy["headline"]].reset_index()
        shown = shown[shown["variant"].isin(list(part.variants))]
        hours = [
            np.mean([run["device_hours"] for (name, _), run in part.runs.items() if name == variant])
            for variant in shown["variant"]
        ]
        shown = shown[list(_BUDGET_COLUMNS)]
        shown.insert(2, "iterations", iterations)
        shown.insert(3, "device_hours", hours)
        tables.append(shown)
    columns = [*_BUDGET_COLUMNS[:2], "iterations", "device_hours", *_BUDGET_COLUMNS[2:]]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


_BUDGET_COLUMNS = (
    *("dataset", "variant", "metric", "mean", "spread", "seeds"),
    *("difference", "low", "high", "p_holm", "verdict", "seeds_to_close"),
)


def further_tables(factorial: pd.DataFrame, budgets: pd.DataFrame) -> list[Table]:
    """Return the further tables for which the study has data."""
    return [
        make(rows)
        for make, rows in ((effects_table, factorial), (differences_by_budget, budgets))
        if len(rows)
    ]


def differences_by_budget(budgets: pd.DataFrame) -> Table:
    """Return what `ablations.md` shows of the budgets: differences from full, one column for each."""
    iterations = sorted(budgets["iterations"].unique())
    hours = budgets[budgets["variant"] == "full"].groupby("iterations")["device_hours"].mean()
    groups = {}
    for dataset, rows in budgets[budgets["variant"] != "full"].groupby("dataset", sort=False):
        groups[f"{dataset}, differences in {METRICS[headline_metric(str(dataset))].label}"] = [
            Row(str(variant), [_difference_cell(row) for row in found.sort_values("iterations").itertuples()])
            for variant, found in rows.groupby("variant", sort=False)
        ]
    return Table(
        "Differences from full by training budget",
        [(f"{count:,} it.", f"{60 * hours[count]:.2g} min") for count in iterations],
        groups,
        remark="Each budget is a training of its own, fully annealed. Minutes are of one training of full.",
    )


def effects_table(factorial: pd.DataFrame) -> Table:
    """Return what `ablations.md` shows of the grids."""
    groups = {
        f"{dataset}, grid of {grid}": [
            Row(row.effect, [Cell(_difference(row.difference, row.low, row.high))])
            for row in cast("Iterator[Any]", effects.itertuples())
        ]
        for (dataset, grid), effects in factorial.groupby(["dataset", "grid"], sort=False)
    }
    remark = (
        "The effect of one change is its mean over the grid; of two, it is by how much the effect of one "
        "differs once the other is made."
    )
    return Table(EFFECTS, [("PSNR", "dB [95 %]")], groups, remark=remark)
