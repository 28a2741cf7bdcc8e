"""The learning rate against the released recipe's own values, and the other options' shapes."""

import json
from dataclasses import replace

import pytest

from vsrbench.core.config import ROOT, TrainingConfig, read_yaml
from vsrbench.training.lr_schedule import learning_rate

GOLDEN = ROOT.parent / "shared" / "reference" / "golden_misc.json"
FULL = TrainingConfig(**read_yaml(ROOT / "ablations" / "full.yaml")["training"])

# Iteration -> rate of the released REDS recipe around a cycle's end.
REDS = {
    1: 2e-4,
    300_001: 1e-7,
    300_002: 0.00010004999999725982,
    600_001: 1e-7,
    1_200_000: 1.000000027401862e-07,
}


@pytest.mark.parametrize(("iteration", "rate"), REDS.items())
def test_full_yaml_has_the_released_schedule(iteration, rate):
    assert learning_rate(FULL, iteration) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("recipe", ["reds", "vimeo"])
def test_cosine_restarts_match_every_golden_value(recipe):
    if not GOLDEN.is_file():
        pytest.skip(f"{GOLDEN} is not here")
    golden = json.loads(GOLDEN.read_text())["learning_rate"][recipe]
    config = replace(
        FULL,
        periods=golden["periods"],
        restart_weights=golden["restart_weights"],
        minimum_learning_rate=golden["eta_min"],
        learning_rate=golden["base_lr"],
    )
    for iteration, rate in golden["iteration_lr"]:
        assert learning_rate(config, iteration) == pytest.approx(rate, rel=1e-12)


def test_one_cycle_starts_low_peaks_once_and_ends_at_the_floor():
    config = replace(FULL, schedule="one_cycle", iterations=100)
    rates = [learning_rate(config, iteration) for iteration in range(1, 101)]
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(config.learning_rate / 25)
    assert max(rates) == pytest.approx(config.learning_rate)
    assert peak == 29
    assert rates[-1] == pytest.approx(config.minimum_learning_rate)
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_one_cycle_stands_any_length(iterations):
    config = replace(FULL, schedule="one_cycle", iterations=iterations)
    assert all(0 < learning_rate(config, i) <= config.learning_rate for i in range(1, iterations + 1))


def test_warmup_rises_to_the_schedule():
    config = replace(FULL, warmup_iterations=10)
    assert learning_rate(config, 1) == pytest.approx(0.1 * learning_rate(FULL, 1))
    assert learning_rate(config, 10) == learning_rate(FULL, 10)
