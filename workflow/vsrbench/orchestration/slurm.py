"""Check with Slurm before submitting that it accepts a study's jobs, and find jobs of an earlier run."""

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
    """Raise InputError for the first job that this cluster could never run.

    `jobs` are (rule, threads, resources). Each distinct request is tested once by `sbatch --test-only`, which
    submits nothing.
    """
    tested = set()
    for rule, threads, resources in jobs:
        _check_account(resources.get("slurm_account"))
        request = tuple(sbatch_arguments(threads, resources))
        if request in tested:
            continue
        tested.add(request)
        answer = _slurm("sbatch", "--test-only", "--wrap=true", *request)
        if answer.returncode:
            output = answer.stderr.strip() or f"sbatch exited with status {answer.returncode} and no message"
            reason = output.splitlines()[-1].removeprefix("allocation failure: ")
            raise InputError(
                f"Slurm rejects jobs of rule {rule}: {reason} (requested {shlex.join(request)}; "
                f"{_describe_partition(resources.get('slurm_partition'))}); correct the top of {PROFILE}"
            )


def check_shares(study: Study, gpus: int) -> None:
    """Raise InputError for the first variant whose batch size `gpus` does not divide."""
    for name, variant in study.variants.items():
        if variant.training.batch_size % max(gpus, 1):
            raise InputError(
                f"{PROFILE}: gpus_per_training {gpus} does not divide training.batch_size "
                f"{variant.training.batch_size} of {name}; choose a divisor"
            )


def sbatch_arguments(threads: int, resources: Mapping[str, Any]) -> list[str]:
    """Return the options of `sbatch` with which the executor plugin submits a job."""
    gpus = resources.get("gpu")
    if gpus and resources.get("gpu_model"):
        gpus = f"{resources['gpu_model']}:{gpus}"
    request = {
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
    return [f"--{option}={value}" for option, value in request.items() if value] + extra


def wait_for_earlier_jobs(study: str) -> None:
    """Wait until no job of an earlier run is queued or running, since it would write the same files."""
    reported: list[str] = []
    while jobs := earlier_jobs(study):
        if jobs != reported:
            logger.warning(
                "%d jobs of an earlier run are still queued or running (%s); waiting for them to end. "
                "To cancel them: Ctrl-C, then `make recover STUDY=%s`; trainings save and resume",
                len(jobs),
                ", ".join(jobs),
                study,
            )
            reported = jobs
        time.sleep(5)


def recover(study: str) -> None:
    """Cancel the jobs that a killed Snakemake left behind, and wait until they have ended.

    Trainings save a checkpoint first. Raises InputError if Snakemake is still running.
    """
    alive = _snakemake_here()
    if alive:
        raise InputError(
            f"Snakemake (process {alive}) is still running in this folder; end it by Ctrl-C or `kill {alive}`"
        )
    jobs = earlier_jobs(study)
    if jobs:
        _slurm("scancel", *jobs)
        logger.info("cancelled jobs %s; waiting for them to save and exit", ", ".join(jobs))
    while earlier_jobs(study):
        time.sleep(1)
    logger.info("no job of %s is left", study)


def earlier_jobs(study: str) -> list[str]:
    """Return the ids of queued or running jobs that earlier runs of this study in this folder submitted.

    Raises InputError if Slurm does not answer.
    """
    answer = _slurm("squeue", "--me", "--noheader", "--format=%A %j")
    if answer.returncode:
        raise InputError(f"squeue: {answer.stderr.strip()}; run on a machine of the cluster")
    runs = _run_ids(study)
    jobs = (line.partition(" ") for line in answer.stdout.splitlines())  # other jobs' names may have spaces
    return sorted({job for job, _, name in jobs if name in runs}, key=int)


def _run_ids(study: str) -> set[str]:
    """Return Snakemake's ids of its runs of a study, which are also the names of their jobs."""
    found = set()
    for log in Path(".snakemake/log").glob("*.snakemake.log"):
        text = log.read_text(errors="replace")
        if f"results/{study}/" in text:
            found.update(re.findall(r"^SLURM run ID: (\S+)$", text, re.MULTILINE))
    return found


def _snakemake_here() -> int | None:
    """Return the process id of a Snakemake running in this folder on this machine; its jobs do not count."""
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        here = process.info["cwd"] == str(Path.cwd())
        if here and any(Path(word).name == "snakemake" for word in command[:3]) and "--mode" not in command:
            return int(process.info["pid"])
    return None


@cache
def _check_account(account: str | None) -> None:
    answer = _slurm(
        "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getuser()}", "format=account"
    )
    accounts = answer.stdout.split()
    if account and accounts and account not in accounts:
        raise InputError(
            f"{PROFILE}: unknown account {account!r} of {getuser()}; expected one of {', '.join(accounts)}"
        )


def _describe_partition(partition: str | None) -> str:
    """Describe the partition's nodes and time limit, or list the partitions if it does not exist."""
    nodes = _slurm("sinfo", "--noheader", f"--partition={partition}", "--format=%c CPUs, %m MB, %G").stdout
    if not nodes.strip():
        names = _slurm("sinfo", "--noheader", "--format=%R").stdout.split()
        return f"available partitions: {', '.join(names)}"
    longest = _slurm("sinfo", "--noheader", f"--partition={partition}", "--format=%l").stdout.split()[0]
    kinds = " or ".join(dict.fromkeys(nodes.strip().splitlines()))
    return f"a node of {partition} has {kinds}; time limit {longest}"


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise InputError(
            f"{command[0]} not found; run on a machine of the cluster, or without --profile slurm"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]} did not answer within 120 s; check that the cluster is up") from None
