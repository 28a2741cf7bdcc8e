"""Slurm, asked beforehand: would it take these jobs, and are jobs of an earlier start still there?"""

import logging
import re
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping
from functools import cache
from getpass import getuser
from pathlib import Path
from typing import Any

import psutil

from vsrbench.core.errors import InputError
from vsrbench.orchestration.study import Study

logger = logging.getLogger("vsrbench")

PROFILE = "workflow/profiles/slurm/config.yaml"


def check_cluster(jobs: Iterable[tuple[str, int, Mapping[str, Any]]]) -> None:
    """Raise InputError for the first kind of job that this cluster could never run.

    `jobs` are (rule, threads, resources). Slurm itself is asked, once for each kind; nothing is submitted.
    """
    asked = set()
    for rule, threads, resources in jobs:
        _check_account(resources.get("slurm_account"))
        request = tuple(sbatch_arguments(threads, resources))
        if request in asked:
            continue
        asked.add(request)
        answer = _slurm("sbatch", "--test-only", "--wrap=true", *request)
        if answer.returncode:
            said = answer.stderr.strip() or f"sbatch ended with status {answer.returncode}, without a word"
            reason = said.splitlines()[-1].removeprefix("allocation failure: ")
            raise InputError(
                f"Slurm takes no job of rule {rule}: {reason} (asked for {shlex.join(request)}; "
                f"{_offer(resources.get('slurm_partition'))}); correct the top of {PROFILE}"
            )


def check_shares(study: Study, gpus: int) -> None:
    """Raise InputError for the first variant whose batch the GPUs of a training could not share evenly."""
    for name, variant in study.variants.items():
        if variant.training.batch_size % max(gpus, 1):
            raise InputError(
                f"{PROFILE}: gpus_per_training {gpus} does not divide training.batch_size "
                f"{variant.training.batch_size} of {name}; choose a number that does"
            )


def sbatch_arguments(threads: int, resources: Mapping[str, Any]) -> list[str]:
    """What the executor plugin asks for a job, in the words of `sbatch`."""
    gpus = resources.get("gpu")
    if gpus and resources.get("gpu_model"):
        gpus = f"{resources['gpu_model']}:{gpus}"
    asked = {
        "account": resources.get("slurm_account"),
        "partition": resources.get("slurm_partition"),
        "gpus": gpus,
        "gres": resources.get("gres"),
        "cpus-per-task": threads,
        "mem": resources.get("mem_mb"),
        "time": resources.get("runtime"),
        "nodes": resources.get("nodes"),
    }
    extra = shlex.split(resources.get("slurm_extra") or "")
    return [f"--{option}={value}" for option, value in asked.items() if value] + extra


def wait_for_earlier_jobs(study: str) -> None:
    """Wait until no job of an earlier start is queued or runs: it would write the same files."""
    told: list[str] = []
    while jobs := earlier_jobs(study):
        if jobs != told:
            logger.warning(
                "%d jobs of an earlier start are still there (%s); waiting for them to end. "
                "Sooner: Ctrl-C, then `make recover STUDY=%s`; trainings save first and go on from there",
                len(jobs),
                ", ".join(jobs),
                study,
            )
            told = jobs
        time.sleep(5)


def recover(study: str) -> None:
    """Cancel the jobs that a killed Snakemake left of a study, and wait until they are gone.

    Trainings among them save first. Raises InputError while Snakemake itself is alive.
    """
    alive = _snakemake_here()
    if alive:
        raise InputError(
            f"Snakemake (process {alive}) still runs in this folder; end it with Ctrl-C or kill {alive}"
        )
    jobs = earlier_jobs(study)
    if jobs:
        _slurm("scancel", *jobs)
        logger.info("cancelled jobs %s; waiting for them to save and end", ", ".join(jobs))
    while earlier_jobs(study):
        time.sleep(1)
    logger.info("no job of %s is left", study)


def earlier_jobs(study: str) -> list[str]:
    """Ids of the jobs in the queue that a start of this study from this folder submitted."""
    answer = _slurm("squeue", "--me", "--noheader", "--format=%A %j")
    if answer.returncode:
        raise InputError(f"squeue: {answer.stderr.strip()}; is this a machine of the cluster?")
    runs = _run_ids(study)
    jobs = (line.partition(" ") for line in answer.stdout.splitlines())  # other jobs' names may have spaces
    return sorted({job for job, _, name in jobs if name in runs}, key=int)


def _run_ids(study: str) -> set[str]:
    """What Snakemake called its starts of a study, which is also the name of their jobs."""
    found = set()
    for log in Path(".snakemake/log").glob("*.snakemake.log"):
        text = log.read_text(errors="replace")
        if f"results/{study}/" in text:
            found.update(re.findall(r"^SLURM run ID: (\S+)$", text, re.MULTILINE))
    return found


def _snakemake_here() -> int | None:
    """The process id of a Snakemake that was started in this folder on this machine, jobs aside."""
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        here = process.info["cwd"] == str(Path.cwd())
        if here and any(Path(word).name == "snakemake" for word in command[:3]) and "--mode" not in command:
            return process.info["pid"]
    return None


@cache
def _check_account(account: str | None) -> None:
    answer = _slurm(
        "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getuser()}", "format=account"
    )
    accounts = answer.stdout.split()
    if account and accounts and account not in accounts:
        raise InputError(
            f"Slurm knows no account {account} of {getuser()}, but {', '.join(accounts)}; correct {PROFILE}"
        )


def _offer(partition: str | None) -> str:
    """What there is to ask for, in words."""
    nodes = _slurm("sinfo", "--noheader", f"--partition={partition}", "--format=%c CPUs, %m MB, %G").stdout
    if not nodes.strip():
        names = _slurm("sinfo", "--noheader", "--format=%R").stdout.split()
        return f"there are the partitions {', '.join(names)}"
    longest = _slurm("sinfo", "--noheader", f"--partition={partition}", "--format=%l").stdout.split()[0]
    kinds = " or ".join(dict.fromkeys(nodes.strip().splitlines()))
    return f"a node of {partition} has {kinds}, for at most {longest}"


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise InputError(
            f"there is no {command[0]} here; start on a machine of the cluster, or without --profile slurm"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]} did not answer within two minutes; is the cluster up?") from None
