"""A study's questions and what the numbers answer, in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from models.baselines import ANCHOR
from vsrbench.core.metric_table import METRICS
from vsrbench.data.registry import headline_metric
from vsrbench.report.published_scores import reduced_settings
from vsrbench.results.statistics import MAX_SEEDS, MIN_SEEDS
from vsrbench.results.study_results import Results

VERDICTS = {
    "worse": "worse",
    "better": "better",
    "equivalent": "equivalent",
    "open": "open",
    "unknown": "without an interval",
}


@dataclass(frozen=True)
class Answer:
    """What one data set says of one variant; `low` and `high` are NaN where there is no interval."""

    dataset: str
    verdict: str  # a key of VERDICTS
    difference: float  # in dB against the full model
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Finding:
    """The question that a variant asks, with an answer from each data set."""

    variant: str
    title: str
    question: str
    answers: list[Answer]


def find_answers(results: Results, tidy: pd.DataFrame) -> list[Finding]:
    """One finding for each variant but the full model; `tidy` as `tables.tidy_table` returns it."""
    headline = tidy[tidy["headline"]].droplevel("metric")
    findings = []
    for name in results.names:
        if name in results.variants and name != "full":
            rows = headline[headline.index.get_level_values("variant") == name]
            answers = [
                _answer(dataset, row)
                for (dataset, _), row in cast("Iterable[tuple[tuple[str, str], pd.Series]]", rows.iterrows())
            ]
            variant = results.variants[name]
            findings.append(Finding(name, variant.title, variant.question, answers))
    return findings


def _answer(dataset: str, row: pd.Series) -> Answer:
    difference, low, high = row["difference"], row["low"], row["high"]
    metric = METRICS[headline_metric(dataset)].label
    interval = f"95 % interval {signed(low)} to {signed(high)}"
    change = f"{metric} {'falls' if difference < 0 else 'rises'} by {abs(difference):.2f} dB"
    if pd.isna(difference):
        verdict, text = "unknown", "Not scored together with the full model."
    elif not row["verdict"]:
        verdict, text = "unknown", f"{change}; fewer than {MIN_SEEDS} seeds, so nothing follows from it."
    elif row["verdict"] == "equivalent":
        verdict, text = "equivalent", f"Equivalent within the margin: {signed(difference)} dB, {interval}."
    elif row["verdict"] == "open":
        verdict, text = "open", f"Open: {signed(difference)} dB {metric}, {interval}. {_to_close(row)}"
    else:
        verdict, text = row["verdict"], f"{change} ({interval})."
    return Answer(dataset, verdict, difference, low, high, text)


def _to_close(row: pd.Series) -> str:
    seeds = row["seeds_to_close"]
    if np.isinf(seeds):
        return f"More than {MAX_SEEDS} seeds would be needed to settle it."
    return f"About {seeds:.0f} seeds would settle it."


def summarise_findings(results: Results, tidy: pd.DataFrame, findings: list[Finding]) -> list[str]:
    """Summarise the study: two sentences for each data set, and one on its size."""
    sentences = []
    for dataset in results.datasets:
        sentences.append(_level(results, tidy, dataset))
        sentences.append(_count(dataset, findings))
    reductions = reduced_settings(results.variants["full"])
    if reductions:
        sentences.append(
            f"The study is smaller than the published one ({reductions}): it compares variants at this size "
            "and says nothing of the published scores."
        )
    return [sentence for sentence in sentences if sentence]


def _level(results: Results, tidy: pd.DataFrame, dataset: str) -> str:
    """Say what the full model reaches, and how far above the anchor baseline that is."""
    metric = headline_metric(dataset)
    full = cast("pd.Series", tidy.xs((dataset, "full", metric)))
    said = (
        f"On {dataset} ({_number(full['clips'], 'clip')}, {_number(full['seeds'], 'seed')}) the full model "
        f"reaches {full['mean']:.2f} dB {METRICS[metric].label}"
    )
    if (dataset, ANCHOR.name, metric) not in tidy.index:
        return f"{said}."
    row = cast("pd.Series", tidy.xs((dataset, ANCHOR.name, metric)))
    side = "above" if row["difference"] < 0 else "below"
    between = (
        "" if pd.isna(row["low"]) else f" (95 % interval {signed(-row['high'])} to {signed(-row['low'])})"
    )
    return f"{said}, {abs(row['difference']):.2f} dB {side} {ANCHOR.name}{between}."


def _count(dataset: str, findings: list[Finding]) -> str:
    """How many changes made it worse or better, and which."""
    answers = [(finding.variant, answer) for finding in findings for answer in finding.answers]
    answers = [(name, answer) for name, answer in answers if answer.dataset == dataset]
    if not answers:
        return ""
    parts = []
    for verdict, words in VERDICTS.items():
        found = sorted((answer.difference, name) for name, answer in answers if answer.verdict == verdict)
        if found:
            named = ", ".join(f"{name} {signed(difference)}" for difference, name in found)
            parts.append(f"{len(found)} {words} ({named})")
    return f"Of {_number(len(answers), 'change')} to it, on {dataset}: {'; '.join(parts)}."


def _number(count: int, noun: str) -> str:
    return f"{count:.0f} {noun}{'' if count == 1 else 's'}"


def signed(value: float) -> str:
    """Two digits after the point and a sign, as a minus where it is one."""
    return f"{value:+.2f}".replace("-", "−")


def to_restructured_text(summary: list[str], findings: list[Finding]) -> str:
    """Summary and findings for the front page of Snakemake's own report."""
    parts = [_escape(sentence) for sentence in summary]
    for finding in findings:
        answers = [f"  *{_escape(answer.dataset)}:* {_escape(answer.text)}" for answer in finding.answers]
        parts.append(f"{_escape(finding.question)} ({_escape(finding.variant)})\n" + "\n\n".join(answers))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", text)
