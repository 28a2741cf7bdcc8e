"""Scoring in shares gives the files, records included, that one job gives; lost shares repeat alone."""

import shutil

import numpy as np
import pytest

from vsrbench.data.clips import write_frame

ROWS = "results/tiny/evaluations/mine/bicubic/seed_0.csv"


@pytest.fixture
def scattered(workflow):
    """A study of seven clips of one to three frames, of which bicubic is scored in three shares."""
    random = np.random.default_rng(0)
    for number in range(7):
        folder = workflow.folder / "clips" / f"clip {number}"
        folder.mkdir(parents=True)
        for t in range(3 + number % 3):
            write_frame(folder / f"{t}.png", random.integers(0, 256, (64, 72, 3)).astype(np.uint8))
    workflow.study |= {
        "folders": {"mine": str(workflow.folder / "clips")},
        "evaluate_on": {},
        "variants": ["full"],
        "scatter": {"mine": 3},
    }
    workflow.study["evaluation"]["metrics"].remove("lpips_alex")
    return workflow


def files(study):
    """Everything that scoring leaves, by path."""
    places = (study / "evaluations", study / "lineage" / "evaluations")
    return {
        path.relative_to(study).as_posix(): path.read_bytes()
        for place in places
        for path in place.rglob("*")
        if path.is_file()
    }


def test_shares_are_joined_to_what_one_job_writes(scattered):
    study = scattered.folder / "results" / "tiny"
    result = scattered.snakemake("--", ROWS)
    assert result.returncode == 0, result.stdout
    assert "evaluate_share" in result.stdout and not list(study.glob("evaluations/mine/bicubic/shares/*/*"))
    joined = files(study)
    assert {"evaluations/mine/bicubic/seed_0.csv", "lineage/evaluations/mine/bicubic/seed_0.csv.json"} < {
        *joined
    }
    assert sum(path.endswith(".png") for path in joined) == 2 * 7
    shutil.rmtree(study)
    scattered.study["scatter"] = {}
    assert scattered.snakemake("--", ROWS).returncode == 0
    assert files(study) == joined


def test_a_share_that_was_lost_or_damaged_repeats_alone(scattered):
    study = scattered.folder / "results" / "tiny"
    shares = [f"results/tiny/evaluations/mine/bicubic/shares/seed_0/{n}/share.json" for n in (1, 2, 3)]
    assert scattered.snakemake("--notemp", "--", *shares).returncode == 0
    shutil.rmtree((scattered.folder / shares[1]).parent)
    rows = scattered.folder / shares[2].replace("share.json", "rows.csv")
    text = rows.read_text()
    rows.write_text(text.replace("clip 2", "clip 3", 1))
    result = scattered.snakemake("--notemp", "--", ROWS)
    assert result.returncode != 0
    assert (
        "shares/seed_0/3: changed since evaluate wrote it; delete its folder and start again" in result.stdout
    )
    assert result.stdout.count("rule evaluate_share:") == 1 and not (scattered.folder / ROWS).exists()
    shutil.rmtree(rows.parent)
    result = scattered.snakemake("--notemp", "--", ROWS)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("rule evaluate_share:") == 1
    assert (study / "lineage" / "evaluations" / "mine" / "bicubic" / "seed_0.csv.json").is_file()


def test_more_shares_than_clips_are_refused(scattered):
    scattered.study["scatter"] = {"mine": 8}
    result = scattered.snakemake("--", ROWS)
    assert result.returncode != 0
    assert "scatter: mine: 7 clips, fewer than 8 shares; lower it" in result.stdout
