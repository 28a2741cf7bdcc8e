"""Training on k-patterns, against a loop written out here, and the choice of a learning rate."""

import json
import math

import pandas as pd
import pytest
import torch

from vsrbench.patterns import learn
from vsrbench.patterns.layers import LAYERS
from vsrbench.patterns.learn import Budget, Progress, Run, choose_rate, steps_to_learn, train
from vsrbench.patterns.tasks import draw_inputs, draw_task

SETTINGS = {
    "layer": "convolutional",
    "optimiser": "sgd",
    "n": 16,
    "k": [2, 3],
    "functions": ["parity"],
    "rates": [1e-6, 0.3],
    "tuning_seeds": [8, 9],
    "tuning_steps": 200,
    "seeds": [1, 2],
    "steps": 400,
    "batch_size": 32,
    "interval": 20,
}


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_training_is_plain_gradient_descent_on_the_hinge_loss(optimiser):
    run = Run("fully_connected", optimiser, 16, "parity", 3, seed=5, rate=0.01)
    found = train(run, Budget(steps=6, batch_size=8, interval=3))

    generator = torch.Generator().manual_seed(5)
    task = draw_task(16, 3, "parity", generator)
    torch.manual_seed(5)
    network = LAYERS["fully_connected"](16, 3)
    moments = [[torch.zeros_like(value) for _ in range(2)] for value in network.parameters()]
    accuracies, losses = [], []
    for step in range(1, 7):
        x = draw_inputs((8, 16), generator)
        margin = task.label(x) * network(x)
        accuracies.append((margin > 0).float().mean().item())
        loss = (1 - margin).clamp(min=0).mean()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for value, gradient, (first, second) in zip(
                network.parameters(), gradients, moments, strict=True
            ):
                if optimiser == "sgd":
                    value -= 0.01 * gradient
                    continue
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient**2)
                scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
                value -= 0.01 * first / (1 - 0.9**step) / scale
    assert [progress.step for progress in found] == [3, 6]
    for index, progress in enumerate(found):
        part = slice(3 * index, 3 * index + 3)
        assert progress.accuracy == pytest.approx(sum(accuracies[part]) / 3)
        assert progress.loss == pytest.approx(sum(losses[part]) / 3, rel=1e-5)


def test_a_training_ends_when_the_pattern_is_learnt():
    found = train(Run("convolutional", "adam", 16, "parity", 2, 1, 0.01), Budget(2000, 64, 25))
    assert found[-1].accuracy >= 0.99 and steps_to_learn(found) == found[-1].step < 2000
    assert all(progress.accuracy < 0.99 for progress in found[:-1])


def test_a_training_that_diverges_ends_unlearnt():
    found = train(Run("fully_connected", "sgd", 16, "parity", 3, 1, 1e20), Budget(500, 16, 10))
    assert len(found) < 50 and steps_to_learn(found) == math.inf


def chosen(table: dict[float, dict[int, list[float]]], steps: int = 300) -> tuple[float, list]:
    """The rate chosen where trainings have these accuracies, and what was asked for."""
    asked = []

    def attempt(rate: float, seed: int, most: int) -> list[Progress]:
        asked.append((rate, seed, most))
        accuracies = table[rate][seed][: most // 50]
        return [Progress(50 * index, accuracy, 0.5) for index, accuracy in enumerate(accuracies, 1)]

    return choose_rate(list(table), list(next(iter(table.values()))), steps, attempt), asked


def test_the_rate_that_learns_first_with_every_seed_is_chosen():
    rate, asked = chosen(
        {
            0.1: {1: [0.5, 0.9, 0.8, 0.99], 2: [0.99]},
            0.3: {1: [0.7, 0.99], 2: [0.8, 0.8, 1.0]},
            1.0: {1: [0.99], 2: [0.5] * 6},
            3.0: {1: [0.5, 0.5, 0.99], 2: [0.99]},
        }
    )
    assert rate == 0.3  # 3.0 takes as long, and is later; 1.0 does not learn with seed 2
    assert asked[:2] == [(0.1, 1, 300), (0.1, 2, 300)]
    assert asked[2:] == [
        (0.3, 1, 200),
        (0.3, 2, 200),
        (1.0, 1, 150),
        (1.0, 2, 150),
        (3.0, 1, 150),
        (3.0, 2, 150),
    ]


def test_where_none_learns_the_most_accurate_is_chosen():
    rate, asked = chosen({0.1: {1: [0.5, 0.6], 2: []}, 0.3: {1: [0.7, 0.6], 2: []}, 1.0: {1: [0.5], 2: []}})
    assert rate == 0.3
    assert [seed for _, seed, _ in asked] == [1, 1, 1]  # the second seed cannot save a rate


def test_a_rate_that_diverges_is_the_last_to_be_chosen():
    def attempt(rate: float, seed: int, most: int) -> list[Progress]:
        return [Progress(50, 0.6, math.nan)] if rate == 3.0 else [Progress(50, 0.5, 1.0)]

    assert choose_rate([3.0, 0.1, 0.3], [1], 300, attempt) == 0.1


def test_the_file_has_every_training_with_the_tuned_rate(tmp_path):
    out = tmp_path / "n_16.csv"
    learn.learn(**SETTINGS, out=out)
    table = pd.read_csv(out)
    tuning = table[table.tuning]
    assert set(tuning.seed) == {8, 9} and set(tuning.rate) == {1e-6, 0.3}
    assert tuning[tuning.rate == 1e-6].step.max() == 200
    kept = table[~table.tuning]
    assert set(kept.seed) == {1, 2} and set(kept.rate) == {0.3} and set(kept.k) == {2, 3}
    assert set(table.parameters) == {64 * 18 + 1}
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["budget"]["steps"] == 400 and record["machine"]["processor"]
    learn.learn(**SETTINGS, out=tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()
