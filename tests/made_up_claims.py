"""Made-up studies of the claims, as the workflow leaves them: effects say which verdicts come out."""

from pathlib import Path

from synthetic import write_study

from vsrbench.core.claims import read_claims, read_studies
from vsrbench.report.html_report import make_report
from vsrbench.report.tables import make_tables
from vsrbench.results.study_results import StudyFiles

# What each variant loses in dB against the full model, and its size in M.
EFFECTS = {
    "bicubic": (-2.0, None),
    "full": (0.0, 0.2),
    "no_attention": (0.0, 0.2),
    "fcsa": (-0.5, 0.4),
    "unaligned_ffn": (0.5, 0.1),
    "token_wise_ffn": (-0.6, 0.1),
    "no_positional_encoding": (-0.001, 0.2),
    "oracle_flow": (0.4, 0.1),
    "one_frame": (-1.0, 0.2),
}
CLIPS = {"chelsea_0": 3, "chelsea_1": 3, "rocket_0": 3, "rocket_1": 3}


def write_claims_study(
    folder: Path, *, seeds=(1, 2, 3, 4, 5), budgets=(250, 500), effects=EFFECTS
) -> StudyFiles:
    """Write a study that the claims name, with its tables and report; `folder` is `results/<study>`."""
    claims = [claim for claim in read_claims() if folder.name in claim.tested_in]
    networks = {"bicubic", "full", *(name for claim in claims for name in (claim.variant, claim.reference))}
    dataset = claims[0].tested_in[folder.name][0]
    files = write_study(
        folder,
        seeds=seeds,
        budgets=budgets,
        effects={name: effect for name, effect in effects.items() if name in networks},
        clips={dataset: CLIPS},
    )
    heading = {"title": folder.name, "note": "", "published": folder / "published.csv"}
    make_tables(files, folder / "tables", **heading)
    make_report(
        files,
        **heading,
        figures=[],
        page=folder / "report.html",
        tables=folder / "tables" / "ablations.html",
        findings=folder / "findings.rst",
    )
    return files


def write_claims_studies(results: Path, **options) -> Path:
    """Write every study that settles the claims."""
    for study in read_studies():
        write_claims_study(results / study, **options)
    return results
