# The checked study and the lookups that rules share. No rules here.
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from vsrbench import provenance, study as studies
from vsrbench.errors import InputError

try:
    STUDY = studies.load_study(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

VARIANTS = STUDY["variants"]


def tables():
    """The files that a study ends with."""
    return expand(
        "results/{study}/tables/ablations.{format}", study=STUDY["study"], format=["csv", "md", "tex", "txt"]
    )


def terminal_table():
    """The ablation table as text."""
    return Path(f"results/{STUDY['study']}/tables/ablations.txt").read_text()
