"""The gradient at initialisation for parity: the quantity that the theorem bounds, computed exactly.

While |h(x)| < 1, the hinge loss of y h(x) is linear, and the gradient of a hidden unit's weight on x_l is
-u E[y x_l s'(w x + b)], where u is the unit's read-out and s' is 1 where the ReLU is on. For y the parity of
the bits S, it is u times a Fourier coefficient of the half-space w x + b > 0: that of S without l, or with l.

A dense layer's initialisation knows no order of the inputs, so that its expected square is the mean over all
sets of that size; the squares of all coefficients add up to the half-space's share of the inputs (Parseval),
a half on average. Hence for S of k bits of n (the argument of Malach and Shalev-Shwartz, arXiv 2010.01369,
with this layer's constants):

    E |dL/dW|^2 <= E |u|^2 max(k / C(n, k-1), (k+1) / C(n, k)) / 2

A filter sees the k bits at one place among all, and there its coefficient does not depend on n.
"""

import csv
import itertools
from math import comb, pi
from pathlib import Path

import numpy as np
import torch

from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.patterns.layers import CHANNELS, ConvolutionalLayer, FullyConnectedLayer

_SUMMED = 16  # bits, up to which all inputs are summed over
_STEP, _END = 0.05, 60.0  # of the integral beyond


def dense_gradient(layer: FullyConnectedLayer, place: int, k: int) -> tuple[float, float]:
    """Return |dL/dW|^2 and |u|^2 of a dense layer for the parity of `k` bits from `place` on."""
    w, b, u = (
        values.detach().double().numpy()
        for values in (layer.hidden.weight, layer.hidden.bias, layer.readout.weight[0])
    )
    inside = np.zeros(w.shape[1], bool)
    inside[place : place + k] = True
    coefficients = by_sum(w, b, inside) if len(inside) <= _SUMMED else by_integral(w, b, inside)
    return float((u[:, None] ** 2 * coefficients**2).sum()), float((u**2).sum())


def convolutional_gradient(layer: ConvolutionalLayer, place: int, k: int) -> float:
    """Return |dL/dW|^2 of a convolution with filters of `k` bits for the parity of those from `place` on."""
    w, b = (values.detach().double().numpy() for values in (layer.hidden.weight, layer.hidden.bias))
    u = layer.readout.weight.detach().double().view(-1, len(b))[place].numpy()
    return float((u[:, None] ** 2 * by_sum(w, b, np.ones(k, bool)) ** 2).sum())


def by_sum(w: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Compute E[y x_l s'(w x + b)] (units, n) over all 2^n inputs; y is the parity of the bits `inside`."""
    x = np.array(list(itertools.product((-1.0, 1.0), repeat=len(inside))))
    on = (x @ w.T + b > 0).astype(float)
    coefficients: np.ndarray = on.T @ (x * x[:, inside].prod(axis=1, keepdims=True)) / len(x)
    return coefficients


def by_integral(w: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Compute the same from the step's integral over t of sin(t z) / (pi t), for many bits.

    E[prod_T x exp(i t w x)] is a product of sines in T and of cosines elsewhere. The neglected tail is of
    the order 2^(-n/2) / 60: less than a hundredth of the gradient from 32 bits on.
    """
    t = np.arange(_STEP / 2, _END, _STEP)[:, None]
    size = np.where(inside, inside.sum() - 1, inside.sum() + 1)  # of T, the bits inside without l, or with it
    found = []
    for weights, bias in zip(w, b, strict=True):
        sines, cosines = np.sin(t * weights), np.cos(t * weights)
        product = np.where(inside, sines, cosines).prod(axis=1, keepdims=True)
        changed = product * np.where(inside, cosines / sines, sines / cosines)
        found.append((np.sin(t * bias + size * pi / 2) * changed / t).sum(axis=0) * _STEP / pi)
    return np.array(found)


def bound(n: int, k: int, readout: float) -> float:
    """Bound a dense layer's E |dL/dW|^2 for parities of k of n bits; `readout` is E |u|^2."""
    return readout * max(k / comb(n, k - 1), (k + 1) / comb(n, k)) / 2


def measure_gradients(*, n: list[int], k: list[int], initialisations: int, out: Path) -> None:
    """Write the mean |dL/dW|^2 over initialisations and places, its standard error, and the bound."""
    torch.set_num_threads(1)
    made = origin("measure_gradients")
    rows = []
    for bits, size in itertools.product(k, n):
        dense, local, readouts = [], [], []
        for seed in range(initialisations):
            torch.manual_seed(seed)
            place = int(torch.randint(size - bits + 1, ()))
            found, readout = dense_gradient(FullyConnectedLayer(size, CHANNELS), place, bits)
            dense.append(found)
            readouts.append(readout)
            local.append(convolutional_gradient(ConvolutionalLayer(size, bits), place, bits))
        limit = bound(size, bits, float(np.mean(readouts)))
        for layer, values, most in (("convolutional", local, None), ("fully_connected", dense, limit)):
            error = np.std(values, ddof=1) / initialisations**0.5
            rows.append(
                {
                    "layer": layer,
                    "n": size,
                    "k": bits,
                    "initialisations": initialisations,
                    "squared_gradient": float(np.mean(values)),
                    "standard_error": float(error),
                    "bound": most,
                }
            )
    with atomic_write(out) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    made.record(out)
