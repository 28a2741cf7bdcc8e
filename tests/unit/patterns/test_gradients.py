"""The gradient at initialisation: exact against the mean over all inputs, and within the theorem's bound."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from vsrbench.patterns import gradients
from vsrbench.patterns.gradients import bound, convolutional_gradient, dense_gradient, measure_gradients
from vsrbench.patterns.layers import LAYERS

N = 12


def over_all_inputs(layer, place: int, k: int) -> float:
    """Squared norm of the gradient of the mean hinge loss over all 2^12 inputs, by differentiation."""
    layer = layer.double()
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=N)), dtype=torch.float64)
    y = x[:, place : place + k].prod(dim=1)
    torch.relu(1 - y * layer(x)).mean().backward()
    return float((layer.hidden.weight.grad**2).sum())


@pytest.mark.parametrize(("k", "place"), [(2, 0), (3, 4), (5, 7), (8, 2)])
def test_gradients_are_those_of_the_mean_over_all_inputs(k, place):
    torch.manual_seed(k)
    dense, local = (LAYERS[name](N, k) for name in ("fully_connected", "convolutional"))
    found, readout = dense_gradient(dense, place, k)
    assert found == pytest.approx(over_all_inputs(dense, place, k), rel=1e-4)
    assert readout == pytest.approx(float((dense.readout.weight.detach() ** 2).sum()))
    assert convolutional_gradient(local, place, k) == pytest.approx(over_all_inputs(local, place, k))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_integral_is_the_sum_over_all_inputs(k, monkeypatch):
    monkeypatch.setattr(gradients, "_END", 2000.0)  # its tail is long where bits are few
    random = np.random.default_rng(0)
    w, b = random.uniform(-0.2, 0.2, (3, 19)), random.uniform(-0.2, 0.2, 3)
    inside = np.arange(19) // k == 1
    summed, integrated = (way(w, b, inside) for way in (gradients.by_sum, gradients.by_integral))
    assert np.abs(integrated - summed).max() < 0.05 * np.abs(summed).max()


def test_the_dense_gradient_falls_with_n_within_the_bound_and_the_local_one_as_its_readout(tmp_path):
    out = tmp_path / "gradients.csv"
    measure_gradients(n=[8, 16, 32], k=[3, 5], initialisations=8, out=out)
    table = pd.read_csv(out).set_index(["layer", "k", "n"]).sort_index().squared_gradient
    limits = pd.read_csv(out).dropna()
    assert len(limits) == 6 and (limits.squared_gradient < limits.bound).all()
    for k in (3, 5):
        dense, local = table["fully_connected", k], table["convolutional", k]
        # A place's share of the read-out falls as 1 / (n - k + 1), the other with the number of sets.
        assert local[8] / local[32] < 20 < dense[8] / dense[32]


def test_the_bound_is_half_the_largest_mean_coefficient():
    # Of 6 bits: 2 / 6 of sets of one bit, 3 / 15 of sets of three, each times the two or four they stand for.
    assert bound(6, 2, 1.0) == pytest.approx(max(2 / 6, 3 / 15) / 2)
    assert bound(6, 5, 2.0) == pytest.approx(max(5 / 15, 6 / 6))
