"""What changed between two studies: variants, settings, code, scores and costs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats
from tabulate import tabulate

from vsrbench.core.config import read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.metric_table import METRICS, SHOWN
from vsrbench.core.old_results import refuse_old_study

MIN_DIGITS = 3  # of a change of score, which is often less than the last digit of the score itself
COSTS = ("latency_ms", "peak_memory_gib", "parameters_m")


def compare(a: Path, b: Path) -> None:
    """Print what differs between the study folders `a` and `b`; InputError for a folder without tables."""
    tables = [_read(folder) for folder in (a, b)]
    print(f"{a} -> {b}\n")
    for title, changes in {
        "Settings": _settings(a, b),
        "Variants and data sets": _presence(*tables),
        "Code": _code(*tables),
    }.items():
        if changes:
            print(title, *(f"  {change}" for change in changes), "", sep="\n")
    scores = compare_scores(*tables)
    if scores.empty:
        print("No variant was scored on one data set by both.")
        return
    print(tabulate(scores, headers="keys", showindex=False, disable_numparse=True))


def compare_scores(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """b minus a for each data set and variant of both, costs in percent.

    `beyond seeds`: whether PSNR on RGB changes by more than seeds explain (Welch's t-test at 0.05).
    """
    both = a.merge(b, on=["dataset", "variant"], suffixes=("_a", "_b"))
    table = both[["dataset", "variant"]].copy()
    for metric in SHOWN:
        digits = max(METRICS[metric].digits, MIN_DIGITS)
        table[metric] = (both[f"{metric}_b"] - both[f"{metric}_a"]).map(_signed(digits), na_action="ignore")
    found = [
        both[f"{name}_{study}"].to_numpy(float)
        for study in "ab"
        for name in ("psnr_rgb", "psnr_rgb_spread", "seeds")
    ]
    p = pd.Series(stats.ttest_ind_from_stats(*found, equal_var=False).pvalue, index=both.index)
    table["beyond seeds"] = (p < 0.05).map({True: "yes", False: "no"}).where(p.notna())
    for cost in COSTS:
        percent = 100 * (both[f"{cost}_b"] / both[f"{cost}_a"] - 1)
        table[cost] = percent.map("{:+.1f} %".format, na_action="ignore")
    return table.dropna(axis=1, how="all").fillna("–")


def _signed(digits: int) -> Callable[[float], str]:
    return f"{{:+.{digits}f}}".format


def _read(folder: Path) -> pd.DataFrame:
    refuse_old_study(folder)
    path = Path(folder) / "tables" / "ablations.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: {error}; name the folder of a finished study, such as results/demo"
        ) from None


def _settings(a: Path, b: Path) -> list[str]:
    """Settings whose values differ, of the variants that both studies have."""
    changes = {}
    for path in sorted(Path(a).glob("configs/*.yaml")):
        other = Path(b) / "configs" / path.name
        if other.is_file():
            before, after = _flat(read_yaml(path)), _flat(read_yaml(other))
            for key in (before | after).keys() - {"study"}:
                if before.get(key) != after.get(key):
                    changes.setdefault((key, f"{before.get(key)} -> {after.get(key)}"), []).append(path.stem)
    return [f"{key}: {change} ({', '.join(names)})" for (key, change), names in sorted(changes.items())]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _presence(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    rows = [table.set_index(["dataset", "variant"]).index for table in (a, b)]
    changes = []
    for sign, missing in (("-", rows[0].difference(rows[1])), ("+", rows[1].difference(rows[0]))):
        for dataset in missing.unique("dataset"):
            names = missing[missing.get_level_values("dataset") == dataset].unique("variant")
            changes.append(f"{sign} {dataset}: {', '.join(names)}")
    return changes


def _code(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    digests = [" ".join(sorted(set(table["code_digests"].dropna().astype(str)))) for table in (a, b)]
    return [] if digests[0] == digests[1] else [f"evaluation: {digests[0]} -> {digests[1]}"]
