"""Whatever the cluster does to a training, its weights are those of one that nobody disturbed."""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from cluster_study import PROFILE, ClusterStudy, fact, slurm, wait_until
from same_training import assert_same_training

SLURMD_PIDS = Path(os.environ.get("LAB_DIR", "/var/tmp/slurmlab")) / "run"
TRAINING_SECONDS = 240  # undisturbed: two slices of at most 55 s after the start-up, and much left


def test_training_survives_time_limits_a_preemption_and_a_lost_node(study, cluster):
    study.workflow.edit(PROFILE, "gpu_partition: gpu ", "gpu_partition: gpulow ")
    # Slurm looks every 30 s and rounds up: the signal comes 30 to 60 s after the start.
    study.workflow.edit(PROFILE, "mem_mb: 3000", "mem_mb: 3000\n        runtime: 2")
    study.workflow.edit(PROFILE, "--signal=USR1@120", "--signal=USR1@60")
    iterations = int(TRAINING_SECONDS / seconds_per_iteration(study))
    study.workflow.study["overrides"]["training"] |= {"iterations": iterations, "log_interval": 100}
    resolve(study)

    with ThreadPoolExecutor() as pool:
        undisturbed = pool.submit(study.train_undisturbed)
        start, job = study.begin()
        for restarts in (1, 2):
            wait_for_requeue(study, job, restarts)
            slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
            assert study.wait_for_progress() == job
        preempt(study, job)
        slurm("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=60")
        assert study.wait_for_progress() == job
        lost = lose_node(study, job)
        slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
        waiting = f"in use by process {study.owner()['pid']}"
        wait_until(lambda: waiting in study.log(job), "the next attempt to meet the one that lives on")
        os.kill(study.owner()["pid"], signal.SIGKILL)
        end_attempt(job, lost)
        start.end()
        subprocess.run([cluster, "up"], check=True, capture_output=True)

        assert fact(job, "Restarts") == "4"
        assert study.owner()["attempt"] == 5
        assert "ended without releasing the lock" in study.log(job)
        assert_same_training(study.folder / study.run, undisturbed.result())


def seconds_per_iteration(study: ClusterStudy) -> float:
    """The least that this machine was seen to need."""
    study.workflow.study["overrides"]["training"] |= {"iterations": 100, "log_interval": 10}
    resolve(study)
    lines = (study.train_undisturbed() / "train.jsonl").read_text().splitlines()
    for path in (study.folder / "undisturbed").rglob("*.*"):
        path.unlink()
    return min(json.loads(line)["seconds_per_iteration"] for line in lines)


def resolve(study: ClusterStudy) -> None:
    done = study.workflow.snakemake("results/tiny/configs/full.yaml", "--quiet", "rules")
    assert done.returncode == 0, done.stdout


def wait_for_requeue(study: ClusterStudy, job: int, restarts: int) -> None:
    wait_until(lambda: fact(job, "Restarts") == str(restarts), f"restart {restarts}")
    wait_until(lambda: fact(job, "JobState") == "PENDING", "the job to be back in the queue")


def preempt(study: ClusterStudy, job: int) -> None:
    """Let a job of the better partition take the whole node, until the training is back in the queue."""
    better = slurm(
        *("sbatch", "--parsable", "--partition=gpu", f"--nodelist={fact(job, 'NodeList')}", "--gres=gpu:4"),
        *(f"--chdir={study.folder}", "--output=/dev/null", "--mem=100", "--wrap=exec sleep 600"),
    )
    wait_for_requeue(study, job, 3)
    wait_until(lambda: fact(int(better), "JobState") == "RUNNING", "the better job")
    slurm("scancel", better)


def lose_node(study: ClusterStudy, job: int) -> str:
    """End a node's daemon and declare the node down; the training there lives on, as behind a cut cable."""
    node = fact(job, "NodeList")
    os.kill(int((SLURMD_PIDS / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for_requeue(study, job, 4)
    return node


def end_attempt(job: int, node: str) -> None:
    """End the Snakemake that lives on as well: missing its outputs, it would remove the next attempt's."""
    place = {"SLURM_JOB_ID": str(job), "SLURMD_NODENAME": node}
    for process in psutil.process_iter():
        try:
            if place.items() <= process.environ().items():
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
