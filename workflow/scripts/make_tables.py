"""Write a study's tables."""

from pathlib import Path

from vsrbench.report.tables import make_tables

files = snakemake.input  # noqa: F821

make_tables(
    evaluations=files.evaluations,
    configs=files.configs,
    runtimes=files.runtimes,
    provenance=files.provenance,
    manifests=files.manifests,
    **snakemake.params.heading,  # noqa: F821
    folder=Path(snakemake.output[0]).parent,  # noqa: F821
)
