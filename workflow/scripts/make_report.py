"""Write a study's report."""

from pathlib import Path

from vsrbench.report.html_report import make_report

files = snakemake.input  # noqa: F821

make_report(
    evaluations=files.evaluations,
    configs=files.configs,
    runtimes=files.runtimes,
    provenance=files.provenance,
    manifests=files.manifests,
    figures=files.figures,
    **snakemake.params.heading,  # noqa: F821
    page=Path(snakemake.output.page),  # noqa: F821
    tables=Path(snakemake.output.tables),  # noqa: F821
    findings=Path(snakemake.output.findings),  # noqa: F821
)
