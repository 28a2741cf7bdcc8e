"""Gather what the studies say of the paper's claims into `results/claims/`, small enough for git."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from models.baselines import ANCHOR
from vsrbench.core.claims import Claim, read_claims, read_studies
from vsrbench.core.config import CLAIMS, STUDIES
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.lineage import check
from vsrbench.core.metric_table import METRICS
from vsrbench.report import plot_style
from vsrbench.report.claims import Budget, Tested, budgets_table, find_tested, verdict_table
from vsrbench.report.html_report import read_figure, render_page
from vsrbench.report.table_formats import Cell, Row, Table, to_markdown
from vsrbench.results.audit import confirm_chain
from vsrbench.results.verdicts import COLUMNS, EQUIVALENT, FAILS, HOLDS, OPEN

README_BLOCK = ("<!-- claims results: begin -->\n", "<!-- claims results: end -->\n")
HEAD_ROOM = (ANCHOR.name, "one_frame", "no_attention", "full", "oracle_flow")


@dataclass(frozen=True)
class StudyFacts:
    """What `results/claims/` says of a finished study."""

    name: str
    settings: str  # sha256 of its study file
    claims: pd.DataFrame  # its tables/claims.csv
    head_room: pd.DataFrame  # psnr_rgb and its spread, indexed by variant
    trainings: int
    device_hours: float  # of all trainings, the sweeps' among them
    machines: list[str]

    @property
    def chain(self) -> str:
        """Digest of all that its tables rest on."""
        return str(self.claims["chain"].iloc[0])

    @property
    def budgets(self) -> list[int]:
        """Training budgets in iterations."""
        return sorted(map(int, self.claims["iterations"].unique()))


def settle_claims(*, results: Path, only_list: bool = False, readme: Path | None = None) -> None:
    """Write the verdicts of the finished studies below `results` to `results/claims/`, and print them.

    `only_list` prints the names of the studies instead. `readme` is a file whose block between the markers
    `README_BLOCK` is replaced by the table of verdicts. A study without results on this machine keeps what
    `results/claims/` says of it, as long as its study file and the claims are unchanged. Raises InputError
    for any other study that is not finished, or whose tables are not those of its records.
    """
    studies = read_studies()
    if only_list:
        print(*studies, sep="\n")
        return
    claims = read_claims()
    folder = results / "claims"
    facts = [_committed_study(folder, study) or _read_study(results / study, claims) for study in studies]
    tested = [
        found
        for claim in claims
        for study in facts
        for found in find_tested(study.claims, [claim], study.name, f"../{study.name}/report.html")
    ]
    table = verdict_table(tested, studies)
    _write_files(folder, facts, tested, table)
    print(f"{to_markdown(table)}\nThe page: {(folder / 'index.html').absolute()}")
    if readme is not None:
        _replace_block(readme, _block(table))


def _committed_study(folder: Path, study: str) -> StudyFacts | None:
    """Read what `folder` keeps of a study that has no tables here; None if it has, or if that is outdated."""
    path = folder / "verdicts.json"
    if (folder.parent / study / "tables").exists() or not path.is_file():
        return None
    record = json.loads(path.read_text())
    facts = record["studies"].get(study, {})
    if record["claims"] != sha256(CLAIMS) or facts.get("settings") != sha256(_study_file(study)):
        return None
    tables = {}
    for name in ("budgets.csv", "head_room.csv"):
        if sha256(folder / name) != record["files"][name]:
            raise InputError(f"{folder / name}: not the file that {path.name} names; restore it from git")
        table = pd.read_csv(folder / name, dtype={"chain": str, "verdict": str})
        tables[name] = table[table["study"] == study].drop(columns="study").reset_index(drop=True)
    print(f"{study}: no results on this machine; its verdicts in {folder} are kept")
    return StudyFacts(
        name=study,
        settings=facts["settings"],
        claims=tables["budgets.csv"].fillna({"verdict": "", "chain": ""}),
        head_room=tables["head_room.csv"].set_index("variant"),
        trainings=facts["trainings"],
        device_hours=facts["device_hours"],
        machines=facts["machines"],
    )


def _study_file(study: str) -> Path:
    return STUDIES / f"{study}.yaml"


def _read_study(folder: Path, claims: Sequence[Claim]) -> StudyFacts:
    tables = {}
    for name in ("claims", "ablations"):
        path = folder / "tables" / f"{name}.csv"
        check(path)
        try:
            tables[name] = pd.read_csv(path, dtype={"chain": str, "verdict": str}, keep_default_na=True)
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror}; run `make study STUDY={folder.name}` first"
            ) from None
    found = tables["claims"].fillna({"verdict": "", "chain": ""})
    missing = [column for column in COLUMNS if column not in found]
    expected = {claim.name for claim in claims if folder.name in claim.tested_in}
    if missing or set(found["claim"]) != expected:
        raise InputError(
            f"{folder / 'tables' / 'claims.csv'}: tests other claims than {CLAIMS.name} now names; run "
            f"`make study STUDY={folder.name}` again"
        )
    chain = str(found["chain"].iloc[0])
    if chain and (fault := confirm_chain(folder, chain)):
        raise InputError(f"{folder / 'tables' / 'claims.csv'}: {fault}; start `make study` again")
    runs = [json.loads(path.read_text()) for path in _provenance(folder)]
    return StudyFacts(
        name=folder.name,
        settings=sha256(_study_file(folder.name)),
        claims=found,
        head_room=_head_room(tables["ablations"]),
        trainings=len(runs),
        device_hours=sum(run["device_hours"] for run in runs),
        machines=sorted({_machine(run["machine"]) for run in runs}),
    )


def _head_room(scores: pd.DataFrame) -> pd.DataFrame:
    rows = scores[scores["variant"].isin(HEAD_ROOM)].set_index("variant")
    return rows[["psnr_rgb", "psnr_rgb_spread"]]


def _provenance(folder: Path) -> list[Path]:
    return sorted(
        [*folder.glob("runs/*/seed_*/provenance.json"), *folder.glob("tuning/*/*/*/provenance.json")]
    )


def _machine(card: Mapping[str, Any]) -> str:
    """One line on a machine, without its name."""
    device = card["processor"] if card["device"] == "cpu" else card["device"]
    return f"{device}, {card['threads']} threads a training"


def _write_files(folder: Path, facts: list[StudyFacts], tested: list[Tested], table: Table) -> None:
    draw_verdicts(tested, folder / "verdicts")
    head_room, studies = head_room_table(facts), studies_table(facts)
    parts = [table, budgets_table(tested), head_room, studies]
    texts = {
        "verdicts.csv": pd.DataFrame(map(_verdict_row, tested)).to_csv(index=False),
        "budgets.csv": pd.concat(
            [study.claims.assign(study=study.name) for study in facts], ignore_index=True
        ).to_csv(index=False),
        "head_room.csv": pd.concat(
            [study.head_room.reset_index().assign(study=study.name) for study in facts], ignore_index=True
        ).to_csv(index=False),
        "verdicts.md": "\n".join(map(to_markdown, parts)),
        "index.html": render_page(
            "claims.html.jinja",
            tested=tested,
            summary=summarise_verdicts(tested),
            figure=read_figure(folder / "verdicts.svg"),
            head_room=head_room,
            studies=studies,
        ),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text)
    record = {
        "claims": sha256(CLAIMS),
        "studies": {study.name: _study_record(study) for study in facts},
        "verdicts": {
            f"{found.claim.name}:{found.study}:{found.dataset}": found.conclusion for found in tested
        },
        "files": {name: sha256(folder / name) for name in sorted([*texts, "verdicts.png", "verdicts.svg"])},
    }
    with atomic_write(folder / "verdicts.json") as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _study_record(study: StudyFacts) -> dict[str, Any]:
    return {
        "settings": study.settings,
        "chain": study.chain,
        "budgets": study.budgets,
        "trainings": study.trainings,
        "device_hours": round(study.device_hours, 3),
        "machines": study.machines,
    }


def _verdict_row(found: Tested) -> dict[str, Any]:
    """One row of `verdicts.csv`: numbers are those of the largest budget."""
    claim, last = found.claim, found.budgets[-1]
    return {
        "claim": claim.name,
        "study": found.study,
        "dataset": found.dataset,
        "verdict": found.conclusion,
        "variant": claim.variant,
        "reference": claim.reference,
        "metric": claim.metric,
        "expected": claim.expected,
        "margin": claim.margin,
        "seeds": found.seeds,
        "iterations": last.iterations,
        "difference": last.difference,
        "low": last.low,
        "high": last.high,
    }


_COUNTED = {HOLDS: "hold", FAILS: "do not hold", EQUIVALENT: "equivalent", OPEN: "open"}


def summarise_verdicts(tested: Sequence[Tested]) -> str:
    """How many comparisons came to which verdict, in one sentence."""
    kinds = Counter(found.budgets[-1].verdict or OPEN for found in tested)
    counted = ", ".join(f"{words}: {kinds[kind]}" for kind, words in _COUNTED.items() if kinds[kind])
    claims = len({found.claim.name for found in tested})
    return f"{claims} claims in {len(tested)} comparisons at the largest training budget; {counted}."


def head_room_table(facts: Sequence[StudyFacts]) -> Table:
    """Score of bicubic, of networks without exchange between frames, of the full one and with exact flow."""
    rows = []
    for name in HEAD_ROOM:
        cells = [_score(study.head_room.filter([name], axis="index")) for study in facts]
        if any(cell.text != "–" for cell in cells):
            rows.append(Row(name, cells))
    header = [(study.name, METRICS["psnr_rgb"].unit) for study in facts]
    remark = "PSNR RGB at the largest training budget, mean ± standard deviation over seeds."
    return Table("Head-room", header, {"": rows}, remark=remark)


def _score(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return Cell("–")
    mean, spread = rows.iloc[0]
    return Cell(f"{mean:.2f}" if np.isnan(spread) else f"{mean:.2f} ± {spread:.2f}")


def studies_table(facts: Sequence[StudyFacts]) -> Table:
    """Describe what the verdicts rest on."""
    header = [("trainings", ""), ("device-hours", ""), ("iterations", ""), ("machine", ""), ("chain", "")]
    rows = [
        Row(
            study.name,
            [
                Cell(str(study.trainings)),
                Cell(f"{study.device_hours:.2f}"),
                Cell(", ".join(f"{budget:,}" for budget in study.budgets)),
                Cell("; ".join(study.machines)),
                Cell(study.chain or "–"),
            ],
        )
        for study in facts
    ]
    remark = (
        "Trainings and device-hours include the learning rate sweeps. vsrbench check confirms a chain. The "
        "studies' own reports lie beside this folder on the machine that ran them."
    )
    return Table("Studies", header, {"": rows}, remark=remark)


def draw_verdicts(tested: Sequence[Tested], path: Path) -> None:
    """One panel for each claim, study and data set: the difference against the training budget."""
    columns = min(4, len(tested))
    rows = -(-len(tested) // columns)
    with plot_style.figure(path, 2.3 * columns + 0.4, 1.8 * rows + 0.3) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(tested) :]:
            axes.set_axis_off()
        for axes, found in zip(grid.flat, tested, strict=False):
            _draw_panel(axes, found)
        figure.supxlabel("iterations", fontsize=8)
        figure.supylabel("difference", fontsize=8)


_FACES = {HOLDS: plot_style.VARIANT, FAILS: plot_style.VARIANT, EQUIVALENT: plot_style.BASELINE}


def _draw_panel(axes: Axes, found: Tested) -> None:
    budgets = found.budgets
    iterations = [budget.iterations for budget in budgets]
    axes.axhspan(-found.claim.margin, found.claim.margin, color=plot_style.BASELINE, alpha=0.15, linewidth=0)
    axes.axhline(0, color=plot_style.FULL, linewidth=1)
    axes.plot(iterations, [budget.difference for budget in budgets], color=plot_style.VARIANT, linewidth=0.8)
    for budget in budgets:
        _draw_budget(axes, budget)
    axes.set_xscale("log", base=2)
    axes.set_xticks(iterations, [f"{count:,}" for count in iterations], fontsize=6)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"{found.claim.name}\n{found.study}", fontsize=7)


def _draw_budget(axes: Axes, budget: Budget) -> None:
    if budget.low == budget.low:
        axes.vlines(budget.iterations, budget.low, budget.high, color=plot_style.INK, linewidth=1)
    face = _FACES.get(budget.verdict, "white")
    axes.plot(budget.iterations, budget.difference, "o", color=plot_style.VARIANT, markerfacecolor=face)


def _block(table: Table) -> str:
    """Format the table of verdicts without its heading."""
    return to_markdown(replace(table, title="")).partition("\n\n")[2]


def _replace_block(readme: Path, text: str) -> None:
    begin, end = README_BLOCK
    page = readme.read_text()
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise InputError(f"{readme}: lacks the lines {begin.strip()} and {end.strip()}; add them")
    with atomic_write(readme) as partial:
        partial.write_text(before + begin + text + end + after)
