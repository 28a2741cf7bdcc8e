"""Draw a study's figures."""

from pathlib import Path

from vsrbench.report.figures import make_figures

files = snakemake.input  # noqa: F821

make_figures(
    evaluations=files.evaluations,
    configs=files.configs,
    runtimes=files.runtimes,
    provenance=files.provenance,
    manifests=files.manifests,
    inspections=files.inspections,
    folder=Path(snakemake.output[0]).parent,  # noqa: F821
)
