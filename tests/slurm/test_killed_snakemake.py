"""Snakemake killed while its jobs run, and started again: no two of them write the same files."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from cluster_study import ClusterStudy, fact, wait_until
from same_training import assert_same_training


def test_second_start_waits_and_recovery_loses_nothing(study):
    with ThreadPoolExecutor() as pool:
        undisturbed = pool.submit(study.train_undisturbed)

        first, old = study.begin()
        trainer = study.owner()["pid"]
        os.kill(trainer, signal.SIGSTOP)  # or it might be done before the next start has a job
        first.kill()
        unlock(study)

        # Not asked whether earlier jobs are there, Snakemake submits the training again.
        second = study.start(study.weights, "--no-hooks")
        new = wait_until(lambda: [job.id for job in study.queue() if job.id != old], "a second job")[0]
        waiting = f"in use by process {trainer} on {os.uname().nodename}, Slurm job {old}, attempt 1; waiting"
        wait_until(lambda: fact(new, "JobState") == "RUNNING" and waiting in study.log(new), "it to wait")
        second.kill()
        unlock(study)

        third = study.start(study.weights)
        wait_until(
            lambda: f"2 jobs of an earlier run are still queued or running ({old}, {new})" in third.text,
            "a word",
        )
        refused = study.vsrbench("recover", "--study", "tiny")
        assert refused.returncode == 2
        assert f"Snakemake (process {third.process.pid}) is still running in this folder" in refused.stdout
        third.interrupt()

        recovered = study.vsrbench("recover", "--study", "tiny")
        assert recovered.returncode == 0, recovered.stdout
        assert not study.queue()
        assert [fact(job, "JobState") for job in (old, new)] == ["CANCELLED", "CANCELLED"]
        saved = study.saved()
        unlock(study)

        study.start(study.weights).end()
        # 3 where the second job had the lock before it was cancelled.
        assert study.owner()["attempt"] in (2, 3)
        assert 0 < saved < 600
        assert_same_training(study.folder / study.run, undisturbed.result())


def unlock(study: ClusterStudy) -> None:
    done = study.workflow.snakemake("--unlock")
    assert done.returncode == 0, done.stdout
