# What every kind of study shares. No rules here.
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from snakemake.exceptions import WorkflowError

from vsrbench.core.errors import InputError
from vsrbench.core.provenance import STEPS, code_digest
from vsrbench.orchestration.failed_jobs import log_tail
from vsrbench.orchestration.notification import failure_text, notify
from vsrbench.orchestration.slurm import check_cluster, check_shares, wait_for_earlier_jobs
from vsrbench.orchestration.study import check_names, load_study
from vsrbench.orchestration.study_lock import hold_study
from vsrbench.patterns.study import KEY, load_pattern_study

# The commands of the environment that Snakemake runs in are found even where it is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# The longest that a training may ask a cluster for at once, in minutes; a profile gives the hours.
LONGEST = 60 * config.pop("hours", 24)
GPUS_PER_TRAINING = config.pop("gpus_per_training", 1)
WORKERS = config.pop("workers", None)  # threads of a training that read ahead
NOTIFY = config.pop("notify", None)


@contextmanager
def faults_in_one_line():
    """As Snakemake reports an error of the workflow: without a traceback."""
    try:
        yield
    except InputError as error:
        raise WorkflowError(str(error)) from None


with faults_in_one_line():
    check_names(workflow.configfiles, config)
    STUDY = load_pattern_study(config) if KEY in config else load_study(config)

CODE = {step: code_digest(step) for step in STEPS}


def flags(**settings):
    """Command-line arguments for the settings that are given: `tile_overlap=8` is `--tile-overlap 8`."""
    arguments = []
    for name, value in settings.items():
        if value not in (None, []):
            values = value if isinstance(value, list) else [value]
            arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def failures():
    """Rule and logs of the jobs that failed for good."""
    jobs = workflow.scheduler.failed if workflow.scheduler else ()
    return [(job.rule.name, list(job.log)) for job in jobs if not job.is_group()]


def lock_study():
    """Lock the study before the first job. Dry runs and jobs have no hooks, and take no lock."""
    with faults_in_one_line():
        hold_study(Path("results", STUDY.name))


def check_cluster_limits():
    """Before the first job is submitted: would Slurm take them all, and has an earlier start come to its end?"""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    with faults_in_one_line():
        check_cluster((job.rule.name, job.threads, job.resources) for job in jobs)
        wait_for_earlier_jobs(STUDY.name)
