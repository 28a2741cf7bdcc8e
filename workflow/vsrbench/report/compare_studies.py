"""What changed between two studies: variants, settings, code, scores and costs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats
from tabulate import tabulate

from vsrbench.core.config import read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.lineage import check
from vsrbench.core.metric_table import METRICS, SHOWN
from vsrbench.core.old_results import refuse_old_study
from vsrbench.results.statistics import average_clips
from vsrbench.results.study_results import read_rows

MIN_DIGITS = 3  # of a change of score, which is often less than the last digit of the score itself
COSTS = ("latency_ms", "peak_memory_gib", "parameters_m")


def compare(a: Path, b: Path) -> None:
    """Print what differs between the study folders `a` and `b`; InputError for a folder without tables."""
    tables = [_read(folder) for folder in (a, b)]
    print(f"{a} -> {b}\n")
    common = {dataset: _common_clips(a, b, dataset) for dataset in _in_both(*tables)}
    warnings = [line for dataset, clips in common.items() for line in _other_clips(dataset, clips, *tables)]
    tables = [_of_common_clips(folder, table, common) for folder, table in zip((a, b), tables, strict=True)]
    for title, changes in {
        "Code": _code(*tables),
        "Not the same clips or degradation: only what is common is compared": warnings,
        "Settings": _settings(a, b),
        "Variants and data sets": _presence(*tables),
    }.items():
        if changes:
            print(title, *(f"  {change}" for change in changes), "", sep="\n")
    scores = compare_scores(*tables)
    if scores.empty:
        print("No variant was scored on the same data set by both.")
        return
    print(tabulate(scores, headers="keys", showindex=False, disable_numparse=True))


def _in_both(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    return [dataset for dataset in a["dataset"].unique() if dataset in set(b["dataset"])]


def _common_clips(a: Path, b: Path, dataset: str) -> list[str] | None:
    """Names of the test clips whose frames, low-quality ones included, are the same; None if unknown."""
    clips = [_clips(folder / "data" / dataset / "manifest.json") for folder in (a, b)]
    if None in clips:
        return None
    before, after = (found or {} for found in clips)
    return [name for name, facts in before.items() if after.get(name) == facts]


def _clips(path: Path) -> dict[str, tuple[str, str]] | None:
    """Degradation and sha256 of each test clip of a manifest; None where it does not list them."""
    try:
        check(path)
        manifest = json.loads(path.read_text())
        test = (clip for clip in manifest["clips"] if clip["split"] == "test")
        return {clip["name"]: (manifest["degradation"], clip["sha256"]) for clip in test}
    except (OSError, ValueError, KeyError):
        return None


def _other_clips(dataset: str, common: list[str] | None, a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    counts, degradations = (
        [table.loc[table["dataset"] == dataset, column].iloc[0] for table in (a, b)]
        for column in ("clips", "degradation")
    )
    if degradations[0] != degradations[1]:
        yield f"{dataset}: degradation {degradations[0]} -> {degradations[1]}: not compared"
    elif common is not None and (len(common) < max(counts)):
        yield f"{dataset}: {counts[0]} -> {counts[1]} clips, of which {len(common)} are the same"


def _of_common_clips(folder: Path, table: pd.DataFrame, common: dict[str, list[str] | None]) -> pd.DataFrame:
    """Average scores over the common clips where those are not all; rows without one are left out."""
    rows = [_row_of_common_clips(folder, row, common.get(row["dataset"])) for _, row in table.iterrows()]
    return pd.DataFrame([row for row in rows if row is not None], columns=table.columns)


def _row_of_common_clips(folder: Path, row: pd.Series, common: list[str] | None) -> pd.Series | None:
    if common is None or len(common) == row["clips"]:
        return row
    if not common:
        return None
    clips = average_clips(pd.concat([read_rows(folder / path) for path in row["evaluations"].split()]))
    seeds = clips[clips.index.get_level_values("clip").isin(common)].groupby("seed").mean()
    row = row.copy()
    for metric in seeds.columns.intersection(row.index):
        row[metric], row[f"{metric}_spread"] = seeds[metric].mean(), seeds[metric].std()
    return row


def compare_scores(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """b minus a for each data set and variant of both, costs in percent.

    A time that was measured on a disturbed machine is not compared. `beyond seeds`: whether PSNR on RGB
    changes by more than seeds explain (Welch's t-test at 0.05).
    """
    both = a.merge(b, on=["dataset", "variant"], suffixes=("_a", "_b"))
    table = both[["dataset", "variant"]].copy()
    for metric in SHOWN:
        digits = max(METRICS[metric].digits, MIN_DIGITS)
        table[metric] = (both[f"{metric}_b"] - both[f"{metric}_a"]).map(_signed(digits), na_action="ignore")
    mean_a, spread_a, seeds_a, mean_b, spread_b, seeds_b = (
        both[f"{name}_{study}"].to_numpy(float)
        for study in "ab"
        for name in ("psnr_rgb", "psnr_rgb_spread", "seeds")
    )
    welch = stats.ttest_ind_from_stats(mean_a, spread_a, seeds_a, mean_b, spread_b, seeds_b, equal_var=False)
    p = pd.Series(welch.pvalue, index=both.index)
    table["beyond seeds"] = (p < 0.05).map({True: "yes", False: "no"}).where(p.notna())
    for cost in COSTS:
        percent = 100 * (both[f"{cost}_b"] / both[f"{cost}_a"] - 1)
        table[cost] = percent.map("{:+.1f} %".format, na_action="ignore")
    disturbed = both[[column for column in both if str(column).startswith("disturbed")]].notna().any(axis=1)
    table.loc[disturbed, "latency_ms"] = "disturbed"
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
    """Return the settings whose values differ, of the variants that both studies have."""
    changes: dict[tuple[str, str], list[str]] = {}
    for path in sorted(Path(a).glob("configs/*.yaml")):
        other = Path(b) / "configs" / path.name
        if other.is_file():
            before, after = _flat(read_yaml(path)), _flat(read_yaml(other))
            for key in (before | after).keys() - {"study"}:
                if before.get(key) != after.get(key):
                    changes.setdefault((key, f"{before.get(key)} -> {after.get(key)}"), []).append(path.stem)
    return [f"{key}: {change} ({', '.join(names)})" for (key, change), names in sorted(changes.items())]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
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
