"""A study file: what is wrong with it is said before any job starts."""

from pathlib import Path

import pytest

from vsrbench.config import read_yaml
from vsrbench.errors import InputError
from vsrbench.study import load_study

TINY = Path(__file__).parents[1] / "workflow" / "tiny.yaml"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The tiny study, in a folder where nothing is but `clips`."""
    for variable in ("VSRBENCH_DATA", "VSRBENCH_LPIPS_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    return read_yaml(TINY)


def test_folders_of_ones_own_are_scored_by_name(settings):
    study = load_study(settings | {"folders": {"mine": "clips", "yours": "clips"}})
    assert study.datasets == ("photo_motion", "mine", "yours")
    assert study.scores("full") == study.datasets and study.scores("oracle_flow") == ("photo_motion",)
    assert study.place("mine") == {"dataset": "folder", "root": "clips", "name": "mine"}


def test_a_folder_may_be_all_that_is_scored(settings):
    assert load_study(settings | {"evaluate_on": {}, "folders": {"mine": "clips"}}).datasets == ("mine",)


def test_clips_must_hold_the_largest_window_and_tile(settings):
    assert load_study(settings).least_clip() == {"least_frames": 3, "least_edge": 16}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folders": {"mine": "elsewhere"}}, "folders.mine: elsewhere is no folder; correct the path"),
        ({"folders": {"vid4": "clips"}}, "folders"),
        ({"folders": {"Mine": "clips"}}, "folders: 'Mine' does not match"),
        ({"folders": {"mine": ["clips"]}}, "folders.mine: .* is not of type 'string'"),
        ({"evaluate_on": {"mine": "required"}}, "'mine' was unexpected"),
        ({"evaluate_on": {"vid4": "if_present"}}, "evaluate_on: none of its data sets is there"),
        ({"evaluate_on": {"vid4": "required"}}, "vid4 needs the folder .*Vid4/GT; get Vid4"),
        ({"overrides": {"model": {"num_frames": 7}}}, "photo_motion.num_frames: 5 are fewer than full's"),
        (
            {"overrides": {"model": {"feat_size": 64}}},
            "photo_motion.size: 128 is less than four times full's",
        ),
    ],
)
def test_mistakes(settings, change, said):
    if "overrides" in change:
        change = {
            "overrides": {
                **settings["overrides"],
                "model": settings["overrides"]["model"] | change["overrides"]["model"],
            }
        }
    with pytest.raises(InputError, match=rf"^study tiny: [^\n]*{said}[^\n]*$"):
        load_study(settings | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tile_overlap": 16}, "evaluation.tile_overlap: 16 is not below full's feat_size 16"),
        ({"mode": "whole_frame"}, "evaluation.mode: whole_frame, but full's .* ties the network"),
    ],
)
def test_mistakes_that_would_show_after_training(settings, change, said):
    with pytest.raises(InputError, match=f"^study tiny: [^\n]*{said}"):
        load_study(settings | {"evaluation": settings["evaluation"] | change})
