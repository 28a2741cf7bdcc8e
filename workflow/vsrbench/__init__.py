"""vsrbench: the library behind the workflow. Nothing here imports Snakemake."""

__version__ = "0.2.0"
