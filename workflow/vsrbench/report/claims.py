"""What studies say of the paper's claims, as their pages and tables show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vsrbench.core.claims import Claim
from vsrbench.core.metric_table import METRICS
from vsrbench.report.findings import signed
from vsrbench.report.table_formats import Cell, Row, Table
from vsrbench.results.verdicts import EQUIVALENT, FAILS, HOLDS, OPEN, conclude

MARKS = {HOLDS: "✓", FAILS: "✗", EQUIVALENT: "≈", OPEN: "?", "": "–"}
_KINDS = {HOLDS: "better", FAILS: "worse", EQUIVALENT: "equivalent", OPEN: "open", "": "unknown"}  # in CSS


@dataclass(frozen=True)
class Budget:
    """What one training budget says of a claim; `low` and `high` are NaN where there is no interval."""

    iterations: int
    verdict: str  # a key of MARKS
    difference: float
    low: float
    high: float

    @property
    def mark(self) -> str:
        """The verdict as one character."""
        return MARKS[self.verdict]

    @property
    def kind(self) -> str:
        """The verdict's class in the style sheet."""
        return _KINDS[self.verdict]


@dataclass(frozen=True)
class Tested:
    """One claim as one study tests it on one data set."""

    claim: Claim
    study: str
    dataset: str
    seeds: int
    budgets: list[Budget]  # from the smallest
    link: str = ""  # to the study's report

    @property
    def conclusion(self) -> str:
        """The verdict over all budgets, see `verdicts.conclude`."""
        return conclude({budget.iterations: budget.verdict for budget in self.budgets})

    @property
    def kind(self) -> str:
        """Class in the style sheet."""
        return self.budgets[-1].kind

    @property
    def difference(self) -> float:
        """Difference at the largest budget."""
        return self.budgets[-1].difference

    @property
    def low(self) -> float:
        """Lower end of its interval."""
        return self.budgets[-1].low

    @property
    def high(self) -> float:
        """Upper end of its interval."""
        return self.budgets[-1].high

    @property
    def span(self) -> tuple[float, float]:
        """A scale that shows the interval and zero."""
        ends = [value for value in (self.difference, self.low, self.high) if value == value]
        return min(-0.01, *ends), max(0.01, *ends)

    @property
    def interval(self) -> str:
        """Difference and interval in words."""
        between = "" if self.low != self.low else f" [{signed(self.low)}, {signed(self.high)}]"
        return f"{signed(self.difference)}{between}"


def find_tested(table: pd.DataFrame, claims: Sequence[Claim], study: str, link: str = "") -> list[Tested]:
    """Read what `judge_claims` found: one for each claim and data set, in the order of `claims`."""
    return [
        Tested(claim, study, dataset, int(rows["seeds"].iloc[-1]), _budgets(rows), link)
        for claim in claims
        for dataset in claim.tested_in.get(study, ())
        if len(rows := table[(table["claim"] == claim.name) & (table["dataset"] == dataset)])
    ]


def _budgets(rows: pd.DataFrame) -> list[Budget]:
    ordered: Any = rows.sort_values("iterations").itertuples()
    return [Budget(row.iterations, row.verdict, row.difference, row.low, row.high) for row in ordered]


def verdict_table(tested: Sequence[Tested], studies: Sequence[str]) -> Table:
    """One row for each claim, one column for each study: verdict and difference at the largest budget."""
    rows = []
    for claim in dict.fromkeys(found.claim.name for found in tested):
        ours = [found for found in tested if found.claim.name == claim]
        cells = [
            Cell(
                "; ".join(f"{found.conclusion}: {found.interval}" for found in ours if found.study == study)
                or "–"
            )
            for study in studies
        ]
        rows.append(Row(claim, cells, title=ours[0].claim.claim))
    header = [(study, "") for study in studies]
    metrics = ", ".join(dict.fromkeys(METRICS[found.claim.metric].label_with_unit for found in tested))
    remark = (
        "The verdict is that of the largest training budget, with the difference of the variant under test "
        f"from its reference in {metrics} and its 95 % interval; a dash: not tested there."
    )
    return Table("Verdicts on the paper's claims", header, {"": rows}, remark=remark)


def budgets_table(tested: Sequence[Tested]) -> Table:
    """One row for each claim, study and data set: the difference at every budget, with its verdict's mark."""
    groups: dict[str, list[Row]] = {}
    for found in tested:
        text = ", ".join(
            f"{budget.iterations:,}: {budget.mark} {signed(budget.difference)}" for budget in found.budgets
        )
        compared = f"{found.claim.variant} − {found.claim.reference}"
        cells = [Cell(compared), Cell(str(found.seeds)), Cell(text)]
        groups.setdefault(f"{found.study}, {found.dataset}", []).append(Row(found.claim.name, cells))
    remark = "✓ holds, ✗ does not hold, ≈ equivalent within the margin, ? open, – fewer than three seeds."
    header = [("comparison", ""), ("seeds", ""), ("iterations: verdict and difference", "")]
    return Table("By training budget", header, groups, remark=remark)
