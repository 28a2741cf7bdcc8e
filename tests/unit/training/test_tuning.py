"""The learning rate of a sweep is the best by the validation clips, and a training takes it."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import write_stores, write_variant

from vsrbench.core.config import load_variant
from vsrbench.core.errors import InputError
from vsrbench.training.train_vsr import train
from vsrbench.training.tuning import choose_learning_rate, read_chosen, with_learning_rate


@pytest.fixture
def sweep(tmp_path):
    """Write the provenance of trainings with these scores by rate, choose, and return what is written."""

    def write(scores: dict[float, list[float]]) -> dict:
        runs = []
        for rate, values in scores.items():
            for seed, score in enumerate(values):
                path = tmp_path / f"{rate}_{seed}.json"
                facts = {"learning_rate": rate, "seed": seed, "result": {"validation_psnr_rgb": score}}
                path.write_text(json.dumps(facts))
                runs.append(path)
        choose_learning_rate(runs=runs, out=tmp_path / "tuning.json")
        return json.loads((tmp_path / "tuning.json").read_text())

    return write


def test_the_best_mean_over_seeds_is_chosen(sweep, tmp_path):
    found = sweep({0.001: [26.0, 20.0], 0.002: [24.0, 24.0], 0.004: [23.0, 23.5], 0.008: [22.0, 22.0]})
    assert found["learning_rate"] == read_chosen(tmp_path / "tuning.json") == 0.002 and not found["on_edge"]
    assert len(found["trainings"]) == 8 and found["trainings"][0] == {
        "learning_rate": 0.001,
        "seed": 0,
        "score": 26.0,
    }


@pytest.mark.parametrize("best", [0.001, 0.008])
def test_a_choice_at_either_end_is_on_the_edge(sweep, best):
    scores = dict.fromkeys((0.001, 0.002, 0.004, 0.008), [20.0]) | {best: [21.0]}
    assert sweep(scores) == sweep(scores) | {"learning_rate": best, "on_edge": True}


def test_the_lower_of_two_equal_rates_is_chosen(sweep):
    assert sweep({0.004: [21.0], 0.002: [21.0], 0.001: [20.0]})["learning_rate"] == 0.002


def test_a_rate_that_diverged_once_is_not_chosen_but_kept(sweep):
    found = sweep({0.001: [20.0, 20.0], 0.002: [30.0, float("nan")]})
    assert found["learning_rate"] == 0.001
    assert [run["score"] for run in found["trainings"]] == [20.0, 20.0, 30.0, None]


def test_all_diverged_is_said(sweep):
    with pytest.raises(InputError, match="every learning rate diverged; lower tune.learning_rates"):
        sweep({0.001: [float("nan")], 0.002: [float("inf")]})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"learning_rate": 1}'])
def test_what_is_no_provenance_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run.json: has no \w+; "):
        choose_learning_rate(runs=[tmp_path / "run.json"], out=tmp_path / "tuning.json")
    assert not (tmp_path / "tuning.json").exists()


def test_a_training_takes_the_chosen_rate(tmp_path):
    stores = write_stores(tmp_path)
    (tmp_path / "tuning.json").write_text(json.dumps({"learning_rate": 0.005}))
    own = write_variant(tmp_path / "own.yaml", training={"learning_rate": 0.005})
    other = write_variant(tmp_path / "other.yaml", training={"learning_rate": 0.001})
    weights = {}
    for name, config, options in (
        ("own", own, {}),
        ("plain", other, {}),
        ("given", other, {"learning_rate": 0.005}),
        ("tuned", other, {"tuning": tmp_path / "tuning.json", "learning_rate": 0.7}),
    ):
        out = tmp_path / name / "seed_1" / "weights.safetensors"
        train(config=config, seed=1, out=out, device="cpu", workers=1, **stores, **options)
        weights[name] = torch.cat([values.flatten() for values in load_file(out).values()])
        rate = json.loads(out.with_name("provenance.json").read_text())["learning_rate"]
        assert rate == (0.001 if name == "plain" else 0.005)
    assert torch.equal(weights["own"], weights["given"]) and torch.equal(weights["own"], weights["tuned"])
    assert not torch.equal(weights["own"], weights["plain"])


def test_a_rate_out_of_range_is_refused(tmp_path):
    variant = load_variant(write_variant(tmp_path / "own.yaml"))
    with pytest.raises(InputError, match="training.learning_rate: expected a number between 0 and 1"):
        with_learning_rate(variant, 2.0)
