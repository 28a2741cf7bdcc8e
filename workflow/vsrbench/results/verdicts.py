"""Test claims on a study's scores: a verdict for each claim, data set and training budget."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from vsrbench.core.claims import Claim
from vsrbench.core.metric_table import METRICS
from vsrbench.results.statistics import Estimate, correct_by_holm, estimate_effect, judge, pair
from vsrbench.results.study_results import Results

HOLDS, FAILS, EQUIVALENT, OPEN = "holds", "does not hold", "equivalent", "open"
_MEANS = {"below": {"worse": HOLDS, "better": FAILS}, "above": {"better": HOLDS, "worse": FAILS}}
_FACTS = ("claim", "dataset", "variant", "reference", "metric", "expected", "margin", "iterations")
_CELLS = ("evaluations", "runs", "reference_evaluations", "reference_runs")
COLUMNS = (*_FACTS, *Estimate._fields, "seeds", *_CELLS, "p_holm", "verdict", "chain")


def judge_claims(results: Results, claims: Sequence[Claim]) -> pd.DataFrame:
    """Test `claims` at every budget of the study; one row each, with the columns `COLUMNS`.

    The difference is that of the variant from the reference, paired by seed, in the metric's unit. Holm's
    correction is over the claims' comparisons of one metric at one budget. `iterations` is the full model's
    budget; `evaluations` and `runs` are paths in the study's folder. A data set that was not scored with
    both networks has no row.
    """
    tables = []
    for iterations, part in results.budgets.items():
        rows = [
            row
            for claim in claims
            for dataset in claim.tested_in[results.study]
            for row in _test(part, claim, dataset, iterations)
        ]
        table = pd.DataFrame(rows, columns=list(COLUMNS[:-3]))
        table["p_holm"] = table.groupby("metric")["p"].transform(correct_by_holm)
        table["verdict"] = [_verdict(row) for row in table.itertuples()]
        tables.append(table)
    return pd.concat(tables, ignore_index=True).assign(chain=results.chain)


def _test(results: Results, claim: Claim, dataset: str, iterations: int) -> list[list[Any]]:
    """One row without what depends on the other claims; none where a network was not scored."""
    clips, networks = results.clips, (claim.variant, claim.reference)
    scored = {(dataset, variant) for dataset, variant, *_ in clips.index}
    if not scored.issuperset((dataset, name) for name in networks):
        return []
    variant, reference = (
        cast("pd.Series", clips.loc[(dataset, name), claim.metric]).unstack("clip") for name in networks
    )
    paired = pair(variant, reference)
    if not paired.size:
        return []
    sources = [results.sources.get((dataset, clip), clip) for clip in paired.columns]
    facts = [claim.name, dataset, *networks, claim.metric, claim.expected, claim.margin, iterations]
    folders = [results.variants[name].variant for name in networks]
    cells = [
        " ".join(path.format(dataset=dataset, variant=folder, seed=seed) for seed in paired.index)
        for folder in folders
        for path in ("evaluations/{dataset}/{variant}/seed_{seed}.csv", "runs/{variant}/seed_{seed}")
    ]
    return [[*facts, *map(float, estimate_effect(paired.to_numpy(float), sources)), len(paired), *cells]]


def _verdict(row: Any) -> str:
    """Judge: `HOLDS`, `FAILS`, `EQUIVALENT` or `OPEN`; "" with too few seeds for an interval.

    "At least" holds where the interval excludes that the variant is worse by the margin or more.
    """
    higher_is_better = METRICS[row.metric].higher_is_better
    judged = judge(row, higher_is_better, row.margin)
    if row.expected in _MEANS or not judged:
        return _MEANS.get(row.expected, {}).get(judged, judged)
    worst = row.low if higher_is_better else -row.high
    if worst > -row.margin:
        return HOLDS
    return FAILS if judged == "worse" else OPEN


def conclude(verdicts: Mapping[int, str]) -> str:
    """Sum up the verdicts of one claim, by iterations: that of the largest budget decides.

    A claim that holds there holds from the smallest budget on from which all hold.
    """
    budgets = sorted(verdicts)
    last = verdicts[budgets[-1]]
    if last != HOLDS:
        return last or OPEN
    since = budgets[-1]
    for budget in reversed(budgets):
        if verdicts[budget] != HOLDS:
            break
        since = budget
    return HOLDS if since == budgets[0] else f"{HOLDS} from {since:,} iterations on"
