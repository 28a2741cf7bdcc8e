"""A study that is trained and scored on a person's own videos."""

import json

import pandas as pd
import pytest
from small_video import moving_gradient, write_small_video

RUN = "results/tiny/runs/full/seed_1"


@pytest.mark.parametrize("test", [0.2, pytest.param(0, marks=pytest.mark.slow)])
def test_a_study_on_ones_own_videos(workflow, test):
    videos = workflow.folder / "videos"
    videos.mkdir()
    for name in "abc" if test else "ab":
        write_small_video(videos / f"{name}.mp4", moving_gradient(5, 96, 128)[:, :, :: 1 - 2 * (name == "b")])
    workflow.study |= {
        "folders": {"holiday": str(videos)},
        "train_on": "holiday",
        "split": {"seed": 1, "validation": 0.2, "test": test},
        "evaluate_on": {"holiday": "required"} if test else {"photo_motion": "required"},
        "variants": ["full"],
        "seeds": [1],
    }
    workflow.study["evaluation"]["metrics"].remove("lpips_alex")
    result = workflow.snakemake()
    assert result.returncode == 0, result.stdout
    kept = json.loads((workflow.folder / "results/tiny/data/holiday/split.json").read_text())["clips"]
    assert sorted(kept.values()) == ["test", "train", "validation"][not test :]
    stores = workflow.folder / "results/tiny/data/holiday/store"
    for side in ("train", "validation"):
        (clip,) = json.loads((stores / side / "index.json").read_text())["clips"]
        assert kept[clip["name"]] == side
    (scored,) = (workflow.folder / "results/tiny/evaluations").glob("*/full/seed_1.csv")
    assert scored.parts[-3] == ("holiday" if test else "photo_motion")
    if test:
        assert [kept[name] for name in pd.read_csv(scored)["clip"].unique()] == ["test"]
    weights = workflow.folder / RUN / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    again = workflow.snakemake()
    assert "Nothing to be done" in again.stdout and weights.stat().st_mtime_ns == before
