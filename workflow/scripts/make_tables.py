"""Write a study's tables."""

from pathlib import Path

from vsrbench.report.tables import make_tables
from vsrbench.results.study_results import StudyFiles

make_tables(
    StudyFiles.from_inputs(snakemake.input),  # noqa: F821
    Path(snakemake.output[0]).parent,  # noqa: F821
    **snakemake.params.heading,  # noqa: F821
)
