"""Draw a study's figures."""

from pathlib import Path

from vsrbench.report.figures import make_figures
from vsrbench.results.study_results import StudyFiles

make_figures(
    StudyFiles.from_inputs(snakemake.input),  # noqa: F821
    Path(snakemake.output[0]).parent,  # noqa: F821
    **snakemake.params.judging,  # noqa: F821
)
