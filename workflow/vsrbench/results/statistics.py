"""Which differences are real: means, spreads, and paired differences over seeds and clips.

The networks of every seed restore the same clips, so seeds and clips are crossed; differences are arrays
(..., seeds, clips). The headline estimate is of the difference on the clips that were scored: training runs
(seeds) are the replicates, and Student's t over the seeds' mean differences gives interval and p-value.
Sharing the variance among variants would give shorter intervals, but none of the ways tried keeps its
promise where one variant trains less reliably than the others (`docs/statistics.md`).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, combinations, permutations
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy import optimize, stats

from models.baselines import SEED
from vsrbench.core.metric_table import INFINITE, METRICS

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE
MIN_SEEDS = 3  # with fewer, spread and difference are given, and nothing is inferred
MAX_SEEDS = 100  # more are not counted
BEST, SECOND_BEST, TIED = 1, 2, 3  # places of `rank_variants`
POWER = 0.8  # chance to resolve a difference that is planned for
SEED_SPREAD = 0.05  # dB; the deviation of one run's PSNR that a plan assumes (0.03 to 0.07 measured)


class Estimate(NamedTuple):
    """A mean difference, its interval and two-sided p-value; NaN where no interval can be given.

    `low` and `high` hold for the clips that were scored; `low_any_clip` and `high_any_clip` for other clips
    of the kind as well.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    low_any_clip: np.ndarray
    high_any_clip: np.ndarray


def average_clips(rows: pd.DataFrame) -> pd.DataFrame:
    """Average each metric over the frames of a clip.

    Index (dataset, variant, seed, clip), one column for each metric. What `leave_out_exact` leaves out is in
    no mean.
    """
    keys = ["dataset", "variant", "seed", "clip"]
    return leave_out_exact(rows)[keys + list(METRICS)].groupby(keys, sort=False).mean()


def leave_out_exact(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of the rows with NaN as PSNR of every network on frames that any restored exactly.

    There the PSNR is infinite. Leaving it out of that network's mean alone would compare the others on
    different, and harder, frames.
    """
    rows = rows.copy()
    frames = [rows["dataset"], rows["clip"], rows["frame"]]
    for metric in INFINITE:
        rows[metric] = rows[metric].mask(np.isinf(rows[metric]).groupby(frames).transform("any"))
    return rows


def average_frames(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over all frames, as some papers do: in `frame_mean`, long clips count more.

    Index (dataset, variant, metric). `infinite` counts the frames that were restored exactly, over all seeds;
    `leave_out_exact` says what becomes of them.
    """
    keys = ["dataset", "variant"]
    scores, kept = (
        frames.set_index(keys)[list(METRICS)].rename_axis("metric", axis=1)
        for frames in (rows, leave_out_exact(rows))
    )
    means = kept.groupby(keys, sort=False).mean().stack()
    return pd.DataFrame(
        {"frame_mean": means, "infinite": pd.DataFrame(np.isinf(scores)).groupby(keys).sum().stack()}
    )


def summarise(clips: pd.DataFrame) -> pd.DataFrame:
    """`mean` over clips, then seeds; `spread`, the standard deviation of the seeds' means; number of `seeds`.

    Takes what `average_clips` returns; index (dataset, variant, metric); in the metric's unit. `spread` has
    one degree of freedom less than seeds, and is NaN with one seed.
    """
    keys = ["dataset", "variant", "metric"]
    by_seed = (
        cast("pd.Series", clips.rename_axis("metric", axis=1).stack())
        .dropna()
        .groupby([*keys, "seed"], sort=False)
        .mean()
    )
    summary = by_seed.groupby(keys, sort=False).agg(mean="mean", spread="std", seeds="size")
    return cast("pd.DataFrame", summary)


def compare_with_full(
    clips: pd.DataFrame, sources: Mapping[tuple[str, str], str] | None = None, margin: float = 0.0
) -> pd.DataFrame:
    """Compare every variant with `full`, paired by seed and clip; index (dataset, variant, metric).

    Columns: an `Estimate`; the numbers of seeds and clips paired; `p_holm`, the p-value after Holm's
    correction over the study's comparisons of one metric; `verdict` (`judge`) and `seeds_to_close`. `sources`
    names what a (dataset, clip) was cut from: clips of one source are averaged before they count as
    replicates. `margin` in dB is the difference in PSNR that is regarded as none.
    """
    found = {}
    for dataset, metric, scores in _score_tables(clips):
        for variant in [name for name in scores if name != "full" and "full" in scores]:
            paired = pair(scores[variant], scores["full"])
            if paired.size:
                groups = [(sources or {}).get((dataset, clip), clip) for clip in paired.columns]
                estimate = estimate_effect(paired.to_numpy(float), groups)
                found[dataset, variant, metric] = [*estimate, *paired.shape]
    columns = [*Estimate._fields, "paired_seeds", "paired_clips"]
    index = pd.MultiIndex.from_tuples(found, names=["dataset", "variant", "metric"]) if found else None
    table = pd.DataFrame(list(found.values()), index=index, columns=columns, dtype=float)
    table["p_holm"] = table.groupby("metric")["p"].transform(correct_by_holm) if found else None
    margins = [margin if METRICS[metric].unit == "dB" else 0.0 for *_, metric in table.index]
    table["verdict"] = [
        judge(row, METRICS[metric].higher_is_better, margin)
        for (*_, metric), row, margin in zip(table.index, table.itertuples(), margins, strict=True)
    ]
    families: Iterable[int] = table.groupby("metric")["p"].transform("count") if found else []
    table["seeds_to_close"] = [
        seeds_to_close(row, margin, comparisons)
        for row, margin, comparisons in zip(table.itertuples(), margins, families, strict=True)
    ]
    return table


def judge(row: Any, higher_is_better: bool, margin: float) -> str:
    """Return `better`, `worse`, `equivalent`, `open`, or "" where there is no interval.

    Better and worse hold after Holm's correction. Equivalent: the interval lies within +-`margin`, which is
    two one-sided tests at 2.5 % each.
    """
    if np.isnan(row.low):
        return ""
    if row.p_holm < SIGNIFICANT:
        return "better" if (row.difference > 0) == higher_is_better else "worse"
    return "equivalent" if -margin < row.low and row.high < margin else "open"


def seeds_to_close(row: Any, margin: float, comparisons: int) -> float:
    """Estimate the seeds that would settle an open comparison if its mean and spread stayed as they are.

    Settled: resolved among `comparisons` with a chance of `POWER`, or with an interval within +-`margin`.
    NaN where the comparison is not open, infinite beyond `MAX_SEEDS`.
    """
    if row.verdict != "open":
        return np.nan
    seeds, difference = int(row.paired_seeds), abs(row.difference)
    half = (row.high - row.low) / 2
    deviation = half * np.sqrt(seeds) / stats.t.isf(SIGNIFICANT / 2, seeds - 1)
    resolved = seeds_to_resolve(difference, deviation / np.sqrt(2), comparisons) or np.inf
    more = np.arange(seeds + 1, MAX_SEEDS + 1)
    within = stats.t.isf(SIGNIFICANT / 2, more - 1) * deviation / np.sqrt(more) < margin - difference
    return max(float(min(resolved, more[within][0] if within.any() else np.inf)), seeds + 1.0)


def factorial_effects(clips: pd.DataFrame, changes: dict[str, dict[str, Any]], metric: str) -> pd.DataFrame:
    """Estimate main effects and interactions wherever the variants form a grid around `full`.

    `changes` gives what each variant changes, {} for `full`. A grid is a variant of several changes with
    the variants of each part of them. The effect of one change is its mean over the grid; the interaction
    of two is by how much one's effect differs once the other is made. Columns `dataset`, `grid` (the
    variant of all changes), `effect` and those of `Estimate`.
    """
    named = {frozenset(change.items()): variant for variant, change in changes.items()}
    found = []
    for dataset, _, scores in _score_tables(clips[[metric]]):
        for corner in sorted((corner for corner in named if len(corner) > 1), key=len):
            parts = [frozenset(part) for part in _subsets(corner)]
            cells = {part: scores[named[part]] for part in parts if named.get(part) in scores}
            if len(cells) < len(parts):
                continue
            for subject in parts:
                if subject:
                    contrast = sum(_weight(subject, corner, part) * cell for part, cell in cells.items())
                    effect = " x ".join(f"{key}: {value}" for key, value in sorted(subject))
                    estimate = estimate_effect(_complete(cast("pd.DataFrame", contrast)).to_numpy(float))
                    found.append([dataset, named[corner], effect, *estimate])
    return pd.DataFrame(found, columns=["dataset", "grid", "effect", *Estimate._fields])


Changes = frozenset[tuple[str, Any]]


def _subsets(corner: Changes) -> Iterator[tuple[tuple[str, Any], ...]]:
    ordered = sorted(corner)
    return chain.from_iterable(combinations(ordered, size) for size in range(len(ordered) + 1))


def _weight(subject: Changes, corner: Changes, part: Changes) -> float:
    """Of the cell with the changes `part` in the contrast that is the effect of `subject`."""
    return float((-1) ** len(subject - part) / 2 ** len(corner - subject))


def _score_tables(clips: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, pd.DataFrame]]]:
    """For each dataset and metric, by variant, a table of seeds x clips."""
    for dataset in clips.index.unique("dataset"):
        for metric in clips.columns:
            scores = clips[metric].xs(dataset)
            yield (
                dataset,
                metric,
                {name: scores.xs(name).unstack("clip") for name in scores.index.unique("variant")},
            )


def pair(scores: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Subtract `others` from `scores`, both tables of seeds x clips, over the seeds and clips that both have.

    What was scored once, having no seeds, is compared with every seed of the other.
    """
    if scored_once(scores):
        return _complete(scores.iloc[0] - others)
    return _complete(scores - (others.iloc[0] if scored_once(others) else others))


def scored_once(scores: pd.DataFrame) -> bool:
    """Tell whether a table of seeds x clips is of what has no seeds: a baseline, or loaded weights."""
    return [*scores.dropna(how="all").index] == [SEED]


def _complete(differences: pd.DataFrame) -> pd.DataFrame:
    """Seeds x clips without the seeds that have nothing and the clips that lack something."""
    return differences.dropna(how="all").dropna(axis=1)


def estimate_effect(differences: np.ndarray, sources: list[str] | None = None) -> Estimate:
    """Estimate the mean difference and its 95 % intervals.

    `differences` are (..., seeds, clips), in the metric's unit, as is the estimate. On the scored clips:
    Student's t over the seeds' means. For other clips: half-widths of that interval and of the one over the
    sources' means (of clips, where `sources` is None) added in quadrature (MOVER, Zou and Donner 2008), which
    in simulation covers 95 to 99 %; NaN with fewer than three sources.
    """
    mean, half, p = _student(differences.mean(-1))
    across = _student(_source_means(differences, sources))[1]
    any_clip = np.hypot(half, across)
    return Estimate(mean, mean - half, mean + half, p, mean - any_clip, mean + any_clip)


def _student(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the last axis, half-width of its interval and p-value; NaN with fewer than `MIN_SEEDS`."""
    mean, number = values.mean(-1), values.shape[-1]
    if number < MIN_SEEDS:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = stats.sem(values, axis=-1)
    certain = np.where(mean == 0, 0.0, np.inf)  # where all values are the same
    t = np.divide(np.abs(mean), error, out=certain, where=error > 0)
    return mean, stats.t.isf(SIGNIFICANT / 2, number - 1) * error, 2 * stats.t.sf(t, number - 1)


def _source_means(differences: np.ndarray, sources: list[str] | None) -> np.ndarray:
    """(..., sources): differences averaged over the seeds and over the clips of each source."""
    by_clip: np.ndarray = differences.mean(-2)
    if sources is None:
        return by_clip
    names = np.asarray(sources)
    return np.stack([by_clip[..., names == name].mean(-1) for name in dict.fromkeys(sources)], -1)


def rank_variants(scores: Mapping[str, pd.DataFrame], *, higher_is_better: bool) -> dict[str, int]:
    """Return by name `BEST`, `SECOND_BEST` or `TIED` for best; `scores` are tables of seeds x clips.

    Tied for best are all that no other is shown to beat. There is no second best beside a tie, and no place
    at all with fewer than three seeds.
    """
    left = dict(scores)
    places: dict[str, int] = {}
    for place in (BEST, SECOND_BEST):
        group = _possibly_best(left, higher_is_better)
        if len(group) != 1:
            return places if place == SECOND_BEST else dict.fromkeys(group, TIED)
        places[group[0]] = place
        del left[group[0]]
    return places


def _possibly_best(scores: Mapping[str, pd.DataFrame], higher_is_better: bool) -> list[str]:
    """Return the names that no other beats, the best among them in 95 % of studies (Gupta 1965).

    One name beats another where the paired difference is significant, one-sided, at 5 % over the number of
    the others. Empty where there is nothing to compare with, or too few seeds.
    """
    names = [name for name, table in scores.items() if table.notna().to_numpy().any()]
    p = {pair: _p_of_lead(scores, *pair, higher_is_better) for pair in permutations(names, 2)}
    if len(names) < 2 or np.isnan(list(p.values())).any():
        return []
    level = SIGNIFICANT / (len(names) - 1)
    return [name for name in names if all(p[other, name] >= level for other in names if other != name)]


def _p_of_lead(scores: Mapping[str, pd.DataFrame], name: str, other: str, higher_is_better: bool) -> float:
    """One-sided p-value of `name` leading `other`; 0 or 1 between two that have no seeds."""
    paired = pair(scores[name], scores[other])
    if paired.empty:
        return np.nan
    estimate = estimate_effect(paired.to_numpy(float))
    leads = (estimate.difference > 0) == higher_is_better
    p = 0.0 if scored_once(scores[name]) and scored_once(scores[other]) else float(estimate.p)
    return p / 2 if leads else 1 - p / 2


def resolvable_difference(deviation: float, seeds: int, comparisons: int) -> float:
    """Return the smallest difference that `seeds` paired runs resolve with a chance of `POWER`.

    `deviation` is the standard deviation of one run's score, the same for both networks; the level is that
    of Holm's first step among `comparisons`. NaN with fewer than three seeds.
    """
    if seeds < MIN_SEEDS:
        return np.nan
    error = np.sqrt(2 / seeds) * deviation
    critical = stats.t.isf(SIGNIFICANT / comparisons / 2, seeds - 1)

    def lacking_power(shift: float) -> float:
        return stats.nct.sf(critical, seeds - 1, shift) - POWER

    return float(error * optimize.brentq(lacking_power, 0, 4 * critical))


def seeds_to_resolve(difference: float, deviation: float, comparisons: int) -> int | None:
    """Return the fewest seeds that resolve `difference` with a chance of `POWER`; None beyond `MAX_SEEDS`."""
    return next(
        (
            seeds
            for seeds in range(MIN_SEEDS, MAX_SEEDS + 1)
            if resolvable_difference(deviation, seeds, comparisons) <= difference
        ),
        None,
    )


def correct_by_holm(p: pd.Series) -> pd.Series:
    """Correct p-values by Holm's step-down method (Holm 1979); NaN ones are not counted as comparisons."""
    ordered = p.dropna().sort_values()
    return (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1).reindex(p.index)
