"""What a person ends has ended, and what fails says why."""

from cluster_study import fact, slurm, wait_until


def test_ctrl_c_ends_the_jobs_and_leaves_no_lock(study):
    start, job = study.begin()
    locks = study.folder / ".snakemake" / "locks"
    assert any(locks.iterdir())
    start.interrupt()
    wait_until(lambda: not study.queue(), "the job to end")
    assert fact(job, "JobState") == "CANCELLED" and fact(job, "Restarts") == "0"
    assert not locks.exists() or not any(locks.iterdir())
    assert study.owner()["released"], "the training saved and left by itself"


def test_scancel_ends_the_job_and_reports_it(study):
    start, job = study.begin("--retries", "0")
    slurm("scancel", str(job))
    text = start.end(status=1)
    assert fact(job, "JobState") == "CANCELLED" and fact(job, "Restarts") == "0"
    assert not study.queue()
    assert f"SLURM-job '{job}' failed, SLURM status is: 'CANCELLED'" in text
    assert study.owner()["released"]


def test_failing_job_says_why_and_where_at_the_end_of_the_output(study):
    (study.folder / "results/tiny/flow/weights.safetensors").write_bytes(b"torn")
    start = study.start(study.weights, "--retries", "0")
    job = wait_until(study.queue, "a job")[0].id
    text = start.end(status=1)
    assert (
        "train failed, Slurm status FAILED:\n"
        "  results/tiny/logs/train/full_seed_1.log\n"
        "    vsrbench: results/tiny/flow/weights.safetensors: changed since train_flow wrote it; "
        "restore it, or run `make study` to regenerate it\n"
        f"  logs/slurm/rule_train/tiny_full_1/{job}.log\n"
    ) in text
