"""The report of a study: one HTML file that holds all it shows and asks the network for nothing."""

import base64
import mimetypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from docutils.core import publish_parts
from markupsafe import Markup

from vsrbench.core.claims import claims_of
from vsrbench.core.files import ROOT, atomic_write
from vsrbench.core.lineage import check, origin
from vsrbench.report.claims import find_tested
from vsrbench.report.findings import Finding, find_answers, signed, summarise_findings, to_restructured_text
from vsrbench.report.published_scores import PUBLISHED, compare_with_published, published_table
from vsrbench.report.reach_summary import reach_table
from vsrbench.report.table_formats import Cell, Note, Row, Table
from vsrbench.report.tables import (
    EFFECTS,
    ablation_table,
    budget_table,
    factorial_table,
    further_tables,
    tidy_table,
)
from vsrbench.results.study_results import Exclusion, Results, StudyFiles, read_results
from vsrbench.results.verdicts import judge_claims

TEXTS = ROOT / "workflow" / "report"
CHIPS = {
    "worse": "worse",
    "better": "better",
    "equivalent": "equivalent",
    "open": "open",
    "unknown": "no interval",
}


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with its caption in HTML."""

    name: str
    source: str
    caption: Markup


def make_report(
    files: StudyFiles,
    *,
    title: str,
    note: str,
    margin: float = Results.margin,
    exclude: Sequence[Exclusion] = (),
    figures: Iterable[Path],
    page: Path,
    tables: Path,
    findings: Path,
    published: Path = PUBLISHED,
    reach: Path | None = None,
) -> None:
    """Write `page`, the report; `tables`, the same without figures; and `findings`, its words.

    `figures` are shown in their order; each may have a caption `workflow/report/<its name>.rst`. `reach` is
    the study's `tables/reach.csv`, if it has one. `tables` and `findings` are for Snakemake's own report,
    which has the figures apart and can show no page of more than 2 MB.
    """
    figures = [Path(path) for path in figures]
    made = origin("make_report", *files.measured, *figures, reach)
    check(*figures, reach)
    results = read_results(files, margin, exclude)
    tidy = tidy_table(results)
    found = find_answers(results, tidy)
    summary = summarise_findings(results, tidy, found)
    claims = claims_of(results.study)
    shown = dict(
        title=title,
        note=note,
        full=results.variants["full"],
        claims=find_tested(judge_claims(results, claims), claims, results.study),
        chain=results.chain,
        summary=summary,
        findings=found,
        spans=_spans(found),
        verdicts=CHIPS,
        tables=_tables(results, tidy, compare_with_published(results, published), reach),
        runs=runs_table(results),
        conventions=_to_html("ablations"),
    )
    texts = {
        page: render_page("report.html.jinja", **shown, figures=[read_figure(path) for path in figures]),
        tables: render_page("report.html.jinja", **shown, figures=[]),
        findings: to_restructured_text(summary, found),
    }
    for path, text in texts.items():
        with atomic_write(path) as partial:
            partial.write_text(text)
    made.record(*texts)


def render_page(template: str, **shown: Any) -> str:
    """Fill in a template of `workflow/report/`, with the style and the script that all pages have."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEXTS), autoescape=True, trim_blocks=True)
    return environment.get_template(template).render(
        **shown,
        signed=signed,
        style=Markup((TEXTS / "report.css").read_text()),
        script=Markup((TEXTS / "sort.js").read_text()),
    )


def read_figure(path: Path) -> Figure:
    """Return a picture file with the caption stored under its name, or its name if there is none."""
    kind = mimetypes.guess_type(path)[0]
    data = base64.b64encode(path.read_bytes()).decode()
    name = path.stem.replace("_", " ").capitalize()
    known = (TEXTS / f"{path.stem}.rst").is_file()
    return Figure(name, f"data:{kind};base64,{data}", _to_html(path.stem) if known else Markup.escape(name))


def _to_html(caption: str) -> Markup:
    text = (TEXTS / f"{caption}.rst").read_text()
    return Markup(
        publish_parts(text, writer="html5", settings_overrides={"file_insertion_enabled": False})["body"]
    )


def _spans(findings: list[Finding]) -> dict[str, tuple[float, float]]:
    """From the lowest to the highest end of a data set's intervals, zero among them: one scale to draw on."""
    ends: dict[str, list[float]] = {}
    for answer in (answer for finding in findings for answer in finding.answers):
        values = (answer.difference, answer.low, answer.high)
        ends.setdefault(answer.dataset, [-0.01, 0.01]).extend(value for value in values if value == value)
    return {dataset: (min(values), max(values)) for dataset, values in ends.items()}


def _tables(
    results: Results, tidy: pd.DataFrame, published: pd.DataFrame, reach: Path | None
) -> list[tuple[str, Table]]:
    """Each with the heading of its first column."""
    tables = [("Variant", ablation_table(results, tidy, "Ablations", ""))]
    further = further_tables(factorial_table(results), budget_table(results))
    tables += [("Effect" if table.title == EFFECTS else "Variant", table) for table in further]
    if not published.empty:
        tables.append(("Method", published_table(results, published)))
    if reach is not None:
        tables.append(("Variant", reach_table(pd.read_csv(reach))))
    return tables


def runs_table(results: Results) -> Table:
    """Where the weights behind the scores come from."""
    names = ("seed", "attempts", "device", "device-hours", "ended", "revision", "code")
    rows = []
    for (variant, seed), facts in results.runs.items():
        machine = facts.get("machine", {})
        device = machine.get("processor") if machine.get("device") == "cpu" else machine.get("device")
        revision = str(facts.get("revision"))[:9] + ("+" if facts.get("uncommitted_changes") else "")
        ended = str(facts.get("ended", "–"))[:16].replace("T", " ")
        cells = [seed, facts.get("attempts"), device, facts.get("device_hours"), ended, revision]
        cells = [Cell("–" if cell is None else str(cell)) for cell in (*cells, facts.get("code_digest"))]
        rows.append(Row(variant, cells))
    notes = [
        Note("Times are UTC. A revision with + had uncommitted changes; the code digest holds all the same.")
    ]
    return Table("Training runs", [(name, "") for name in names], {"": rows}, notes)
