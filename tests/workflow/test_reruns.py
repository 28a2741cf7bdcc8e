"""What an edit repeats: mathematics what depends on it, words nothing. And a killed study goes on."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from workflow_copy import copy_of_the_workflow

from vsrbench.data.clips import write_frame


def planned_jobs(workflow) -> dict[str, int]:
    """How many jobs of each rule a dry run would start."""
    result = workflow.snakemake("-n", "--quiet", "rules")
    assert result.returncode == 0, result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    jobs = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return {rule: count for rule, count in jobs.items() if rule not in ("total", "all")}


def planned(workflow) -> set[str]:
    """Rules that a dry run would start."""
    return set(planned_jobs(workflow))


RESULTS = {"make_tables", "make_figures", "make_report", "sync"}
GATE = {"gate", "all_gates_are_passed"}


def test_study_ends_with_every_variant_in_the_table(finished):
    table = (finished.folder / "results" / "tiny" / "tables" / "ablations.csv").read_text()
    for variant in (*finished.study["variants"], "bicubic"):
        assert f",{variant}," in table
    assert (finished.folder / "results" / "tiny" / "report.html").stat().st_size > 10_000


def test_second_start_has_nothing_to_do(finished):
    assert planned(finished) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "repeated"),
    [
        ("models/attention.py", "class ", "# a remark\nclass ", set()),
        ("ablations/fcsa.yaml", "title: ", "# a remark\ntitle: ", set()),
        ("ablations/fcsa.yaml", "title: Fully", "title: Wholly", {"resolve_variant"} | RESULTS),
        (
            "ablations/oracle_flow.yaml",
            "flow: oracle",
            "feed_forward: unaligned",
            {"resolve_variant", "write_fingerprint", "train", "evaluate", "measure_runtime"} | RESULTS,
        ),
        (
            "workflow/vsrbench/evaluation/metrics.py",
            "_WINDOW, _SIGMA = 11, 1.5",
            "_WINDOW, _SIGMA = 11, 1.4",
            {"write_fingerprint", "evaluate", "gate", "all_gates_are_passed"} | RESULTS,
        ),
        (
            "workflow/vsrbench/training/losses.py",
            ".add(1e-12)",
            ".add(1e-6)",
            {"write_fingerprint", "train_flow", "train", "evaluate", "inspect"} | RESULTS,
        ),
        (
            "workflow/vsrbench/results/statistics.py",
            "CONFIDENCE = 0.95",
            "CONFIDENCE = 0.9",
            {"write_fingerprint"} | GATE | RESULTS,
        ),
        ("workflow/vsrbench/evaluation/gate.py", "PSNR_TOLERANCE, SSIM", "PSNR_TOLERANCE_, SSIM", GATE),
        ("workflow/reference/anchors.csv", "vid4", "Vid4", GATE),
        (
            "workflow/reference/published_results.csv",
            "VSRT",
            "vsrt",
            {"write_fingerprint", "make_tables", "make_report", "sync"},
        ),
        ("workflow/report/report.css", "body", "main", {"write_fingerprint", "make_report"}),
    ],
    ids=[
        *("comment", "comment in an ablation", "title", "ablation", "metric", "loss", "interval"),
        *("tolerance", "anchor", "published score", "style"),
    ],
)
def test_edit_repeats_what_it_touches(finished, file, old, new, repeated):
    finished.edit(file, old, new)
    try:
        assert planned(finished) == repeated
    finally:
        finished.edit(file, new, old)


def test_another_data_set_is_scored_and_repeats_no_training(finished, tmp_path):
    clip = tmp_path / "clips" / "a"
    clip.mkdir(parents=True)
    for index in range(3):
        write_frame(clip / f"{index}.png", np.full((64, 64, 3), 40 * index, np.uint8))
    finished.study["folders"] = {"mine": str(tmp_path / "clips")}
    try:
        jobs = planned_jobs(finished)
    finally:
        del finished.study["folders"]
    assert not {"train_flow", "train", "measure_runtime"} & set(jobs)
    assert jobs["evaluate"] == 5  # bicubic, and two seeds of what needs no exact flow


@pytest.mark.parametrize(
    ("lost", "rule"),
    [
        ("evaluations/photo_motion/fcsa/seed_2.csv", "evaluate"),
        ("runtime/fcsa.json", "measure_runtime"),
        ("inspections/photo_motion/full/seed_1.safetensors", "inspect"),
    ],
    ids=lambda value: value.split("/")[0],
)
def test_what_a_killed_rerun_left_out_is_made_though_the_table_is_there(finished, lost, rule):
    """Snakemake removes what a killed job gave, and asks for it again only where something waits for it."""
    path = finished.folder / "results" / "tiny" / lost
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        assert planned_jobs(finished)[rule] == 1
    finally:
        aside.rename(path)
    assert planned(finished) == set()


def test_killed_study_goes_on(tmp_path):
    """SIGKILL for Snakemake and its jobs in the middle of training; the next start ends the study.

    Until they are killed, another start is refused, even if Snakemake's own lock is removed.
    """
    workflow = copy_of_the_workflow(tmp_path)
    workflow.study["variants"] = ["full"]
    target = "results/tiny/runs/full/seed_1/weights.safetensors"
    with open(tmp_path / "first.log", "w") as log:
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
        assert started.exists(), (tmp_path / "first.log").read_text()
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
