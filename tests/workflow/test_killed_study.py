"""A study that is killed goes on where it was."""

import os
import signal
import subprocess
import time


def test_killed_study_goes_on(workflow):
    """SIGKILL for Snakemake and its jobs in the middle of training; the next start ends the study.

    Until they are killed, another start is refused, even if Snakemake's own lock is removed.
    """
    workflow.study["variants"] = ["full"]
    target = "results/tiny/runs/full/seed_1/weights.safetensors"
    with open(workflow.folder / "first.log", "w") as log:
        process = subprocess.Popen(
            workflow.command("--cores", "2", "--", target),
            cwd=workflow.folder,
            env=workflow.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        started = workflow.folder / "results" / "tiny" / "runs" / "full" / "seed_1"
        deadline = time.monotonic() + 300
        while not started.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert started.exists(), (workflow.folder / "first.log").read_text()
        os.killpg(process.pid, signal.SIGSTOP)
        second = workflow.snakemake("--nolock", "--", target)
        assert second.returncode != 0
        assert "results/tiny/.lock: held by another run of this study; wait for it" in second.stdout
        assert workflow.snakemake("-n", "--nolock", "--ignore-incomplete", "--", target).returncode == 0
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = workflow.snakemake("--nolock", "--rerun-incomplete", "--", target)
    assert result.returncode == 0, result.stdout
    assert (workflow.folder / target).is_file()
