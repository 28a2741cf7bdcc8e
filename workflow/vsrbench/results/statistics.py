"""Is that difference real? Means, spreads and paired differences over seeds and clips.

The networks of every seed restore the same clips, so seeds and clips are crossed. Differences are arrays
(..., seeds, clips), read as effect + seed + clip + rest, where each term but the first is random.
"""

from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import elementwise

from models.baselines import BASELINES
from vsrbench.core.metric_table import INFINITE, METRICS

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """An effect, its interval and two-sided p-value; NaN where no interval can be given."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def average_clips(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the frames of a clip: index (dataset, variant, seed, clip), one column for each metric.

    What `leave_out_exact` leaves out is in no mean.
    """
    keys = ["dataset", "variant", "seed", "clip"]
    return leave_out_exact(rows)[keys + list(METRICS)].groupby(keys, sort=False).mean()


def leave_out_exact(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with NaN for the PSNR of every network on frames that any of them restored exactly.

    There the PSNR is infinite. Were it left out of that one network's mean alone, the others would be held
    against it on other, and harder, frames.
    """
    rows = rows.copy()
    frames = [rows["dataset"], rows["clip"], rows["frame"]]
    for metric in INFINITE:
        rows[metric] = rows[metric].mask(np.isinf(rows[metric]).groupby(frames).transform("any"))
    return rows


def average_frames(rows: pd.DataFrame) -> pd.DataFrame:
    """The average of other papers, `frame_mean`: every frame counts alike, so that long clips count more.

    Index (dataset, variant, metric). `infinite` counts the frames that were restored exactly, over all seeds;
    `leave_out_exact` says what becomes of them.
    """
    keys = ["dataset", "variant"]
    scores, kept = (
        frames.set_index(keys)[list(METRICS)].rename_axis("metric", axis=1)
        for frames in (rows, leave_out_exact(rows))
    )
    means = kept.groupby(keys, sort=False).mean().stack()
    return pd.DataFrame({"frame_mean": means, "infinite": np.isinf(scores).groupby(keys).sum().stack()})


def summarise(clips: pd.DataFrame) -> pd.DataFrame:
    """`mean` over clips, then seeds; `spread`, the standard deviation of the seeds' means; number of `seeds`.

    Takes what `average_clips` returns; index (dataset, variant, metric). `spread` is NaN with one seed.
    """
    keys = ["dataset", "variant", "metric"]
    by_seed = clips.rename_axis("metric", axis=1).stack().dropna().groupby([*keys, "seed"], sort=False).mean()
    return by_seed.groupby(keys, sort=False).agg(mean="mean", spread="std", seeds="size")


def compare_with_full(clips: pd.DataFrame) -> pd.DataFrame:
    """Every variant's difference from `full`, paired by seed and clip; index (dataset, variant, metric).

    Columns: an `Estimate`, `p_permutation`, the numbers of seeds and clips paired, and both p-values
    after Holm's correction over the study's comparisons of one metric (`p_holm`, `p_permutation_holm`).
    """
    found = {}
    for dataset, metric, scores in _score_tables(clips):
        for variant in [name for name in scores if name != "full" and "full" in scores]:
            paired = pair(scores[variant], scores["full"], scored_once=variant in BASELINES)
            if paired.size:
                estimate = estimate_effect(paired)
                found[dataset, variant, metric] = [*estimate, permutation_p(paired), *paired.shape]
    columns = [*Estimate._fields, "p_permutation", "paired_seeds", "paired_clips"]
    index = pd.MultiIndex.from_tuples(found, names=["dataset", "variant", "metric"]) if found else None
    table = pd.DataFrame(list(found.values()), index=index, columns=columns, dtype=float)
    for p in ("p", "p_permutation"):
        table[f"{p}_holm"] = table.groupby("metric")[p].transform(correct_by_holm) if found else None
    return table


def factorial_effects(clips: pd.DataFrame, changes: dict[str, dict[str, Any]], metric: str) -> pd.DataFrame:
    """Main effects and interactions, wherever the variants form a grid around `full`.

    `changes` gives what each variant changes, {} for `full`. A grid is a variant of several changes with
    the variants of each part of them. The effect of one change is its mean over the grid; the interaction
    of two is by how much one's effect differs once the other is made. Columns `dataset`, `grid` (the
    variant of all changes), `effect` and those of `Estimate`.
    """
    named = {frozenset(change.items()): variant for variant, change in changes.items()}
    found = []
    for dataset, _, scores in _score_tables(clips[[metric]]):
        for corner in sorted((corner for corner in named if len(corner) > 1), key=len):
            cells = {part: scores.get(named.get(part)) for part in map(frozenset, _subsets(corner))}
            if any(cell is None for cell in cells.values()):
                continue
            for subject in map(frozenset, _subsets(corner)):
                if subject:
                    contrast = sum(_weight(subject, corner, part) * cell for part, cell in cells.items())
                    effect = " x ".join(f"{key}: {value}" for key, value in sorted(subject))
                    estimate = estimate_effect(_complete(contrast))
                    found.append([dataset, named[corner], effect, *estimate])
    return pd.DataFrame(found, columns=["dataset", "grid", "effect", *Estimate._fields])


def _subsets(corner: frozenset) -> Iterator[tuple]:
    ordered = sorted(corner)
    return chain.from_iterable(combinations(ordered, size) for size in range(len(ordered) + 1))


def _weight(subject: frozenset, corner: frozenset, part: frozenset) -> float:
    """Of the cell with the changes `part` in the contrast that is the effect of `subject`."""
    return (-1) ** len(subject - part) / 2 ** len(corner - subject)


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


def pair(scores: pd.DataFrame, full: pd.DataFrame, *, scored_once: bool = False) -> np.ndarray:
    """`scores` minus the full model's, both tables of seeds x clips, over the seeds and clips of both.

    What was `scored_once`, having no seeds, is held against every seed of the full model.
    """
    if scored_once:
        return _complete(scores.iloc[0] - full)
    return _complete(scores - full)


def _complete(differences: pd.DataFrame) -> np.ndarray:
    """(seeds, clips) without the seeds that have nothing and the clips that lack something."""
    return differences.dropna(how="all").dropna(axis=1).to_numpy(float)


def estimate_effect(differences: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Mean effect and its interval for other seeds and other clips; differences are (..., seeds, clips).

    A t-interval, since a bootstrap of seeds, then clips, is no help to a study of two or three seeds: two
    values cannot be resampled into the spread that they come from, and its percentile interval covers the
    effect in 62 to 83 % of studies with 2 seeds x 5 clips, in 77 to 89 % with 3 x 10. In simulation this
    one covers 93 to 97 % with three and more seeds and four and more clips, whatever the ratio of the
    three variances, and 91 to 98 % with two seeds. With one clip it holds for that clip alone; with one
    seed there is none.
    """
    seeds, clips = differences.shape[-2:]
    mean = differences.mean((-2, -1))
    if seeds < 2:
        return Estimate(mean, *(np.full_like(mean, np.nan) for _ in range(3)))
    error, share = _standard_error(differences.mean(-1), differences.mean(-2), (differences**2).sum((-2, -1)))

    def excess(log_p, distance, error, share):
        return _t_quantile(np.exp(log_p), share, seeds, clips) * error - distance

    half = _t_quantile(1 - confidence, share, seeds, clips) * error
    # p is where the interval of confidence 1 - p just reaches zero; below 1e-12 the search ends.
    bracket = np.full_like(mean, np.log(1e-12)), np.zeros_like(mean)
    found = elementwise.find_root(excess, bracket, args=(np.abs(mean), error, share))
    return Estimate(mean, mean - half, mean + half, np.where(found.success, np.exp(found.x), 1e-12))


def _t_quantile(p, share, seeds: int, clips: int) -> np.ndarray:
    """Two-sided t quantile where `share` of the variance is the seeds' mean square, the rest the clips'.

    Satterthwaite's degrees of freedom are right where there are many. Where there are few, they trust
    their own estimate of the share too much (coverage down to 86 % with two seeds), so the fewer there are,
    the more counts a mean of the two t quantiles that is led by the larger mean square.
    """
    of_seeds, of_clips = seeds - 1, max(clips - 1, 1)
    satterthwaite = stats.t.isf(p / 2, 1 / (share**2 / of_seeds + (1 - share) ** 2 / of_clips))
    lead = share**3 / (share**3 + (1 - share) ** 3)
    led = lead * stats.t.isf(p / 2, of_seeds) + (1 - lead) * stats.t.isf(p / 2, of_clips)
    fewest = min(of_seeds, of_clips)
    return led / fewest + satterthwaite * (1 - 1 / fewest)


def _standard_error(seed_means, clip_means, sum_of_squares) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of the mean over seeds and clips, and the share of the seeds' mean square in it.

    From means (..., seeds) and (..., clips) of the differences and the sum (...) of their squares.
    """
    seeds, clips = seed_means.shape[-1], clip_means.shape[-1]
    common = seeds * clips * seed_means.mean(-1) ** 2
    of_seeds = clips * (seed_means**2).sum(-1) - common
    of_clips = seeds * (clip_means**2).sum(-1) - common
    of_rest = sum_of_squares - common - of_seeds - of_clips
    square_seeds = np.maximum(of_seeds, 0) / (seeds - 1)
    square_clips = np.maximum(of_clips, 0) / max(clips - 1, 1)
    square_rest = np.maximum(of_rest, 0) / max((seeds - 1) * (clips - 1), 1)
    # Both mean squares hold the rest, so it is taken off once; a variance that comes out negative is none.
    square = np.maximum.reduce([square_seeds + square_clips - square_rest, square_seeds, square_clips])
    both = square_seeds + square_clips
    share = np.divide(square_seeds, both, out=np.ones_like(both), where=both > 0)
    return np.sqrt(square / (seeds * clips)), share


def permutation_p(differences: np.ndarray) -> float:
    """Two-sided p-value of differences (seeds, clips) if the two networks compared may change places.

    The larger of two: once seeds change places, each with all its clips, and once clips do, each with all
    its seeds. Either alone takes what varies with the other for an effect: where seeds vary most, changing
    clips alone makes two thirds of all nil effects significant at 0.05. Exact up to ten units, from 1999
    random changes beyond. n units can give no p below 2 / 2^n, so that 0.05 takes six seeds and six clips.
    With one clip only seeds count; with one seed it is NaN.
    """
    if len(differences) < 2:
        return np.nan
    p = _p_of_flips(differences)
    return max(p, _p_of_flips(differences.T)) if differences.shape[1] > 1 else p


def _p_of_flips(differences: np.ndarray) -> float:
    """p-value of the studentised mean over the signs of the rows of `differences`."""
    row_means, sum_of_squares = differences.mean(1), (differences**2).sum()

    def statistic(signs, axis):
        column_means = signs @ differences / len(differences)
        error, _ = _standard_error(signs * row_means, column_means, sum_of_squares)
        return np.abs(column_means.mean(-1)) / np.maximum(error, np.finfo(float).tiny)

    test = stats.permutation_test(
        (np.ones(len(differences)),),
        statistic,
        permutation_type="samples",
        alternative="greater",
        n_resamples=1999,
        batch=500,
        rng=0,
    )
    return float(test.pvalue)


def correct_by_holm(p: pd.Series) -> pd.Series:
    """Holm's step-down correction of p-values; NaN ones are no comparisons."""
    ordered = p.dropna().sort_values()
    return (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1).reindex(p.index)
