"""Write a study's report."""

from pathlib import Path

from vsrbench.report.html_report import make_report
from vsrbench.results.study_results import StudyFiles

make_report(
    StudyFiles.from_inputs(snakemake.input),  # noqa: F821
    figures=snakemake.input.figures,  # noqa: F821
    **snakemake.params.heading,  # noqa: F821
    page=Path(snakemake.output.page),  # noqa: F821
    tables=Path(snakemake.output.tables),  # noqa: F821
    findings=Path(snakemake.output.findings),  # noqa: F821
    reach=Path(snakemake.input.reach) if "reach" in snakemake.input.keys() else None,  # noqa: F821, SIM118
)
