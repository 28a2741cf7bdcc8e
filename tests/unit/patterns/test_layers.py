"""The layers that are compared: their sizes, and what each can see."""

import pytest
import torch
import torch.nn.functional as F

from vsrbench.patterns.layers import LAYERS


def parameters(name: str, n: int, k: int) -> int:
    return sum(parameter.numel() for parameter in LAYERS[name](n, k).parameters())


@pytest.mark.parametrize(("n", "k"), [(16, 2), (64, 8), (256, 5)])
def test_the_theorems_layers_are_of_one_size(n, k):
    assert parameters("convolutional", n, k) == parameters("fully_connected", n, k) == 64 * (n + 2) + 1
    assert parameters("fully_connected_wide", n, k) == 1024 * (n + 2) + 1


def test_the_convolution_is_one():
    torch.manual_seed(0)
    layer, x = LAYERS["convolutional"](12, 3), torch.randn(5, 12)
    maps = F.conv1d(x[:, None], layer.hidden.weight[:, None], layer.hidden.bias)
    weights = layer.readout.weight.view(10, 64).T  # one for each place and channel
    expected = (F.relu(maps) * weights).sum(dim=(1, 2)) + layer.readout.bias
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "weights"), [("stcsa", 4960), ("fcsa", 16_384)])
def test_the_attention_is_the_suites(name, weights):
    layer = LAYERS[name](16, 3)
    assert type(layer.attention).__module__ == "models.attention"
    assert sum(parameter.numel() for parameter in layer.attention.parameters()) == weights


def test_bits_lie_as_a_strip_whose_neighbours_are_neighbours():
    layer = LAYERS["stcsa"](8, 3)
    seen = []
    layer.lift.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    layer(torch.arange(8.0)[None])
    assert seen[0].tolist() == [[[[0, 2, 4, 6], [1, 3, 5, 7]]]]


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_learns_and_every_bit_is_seen(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name](16, 3), torch.randn(64, 16).sign().requires_grad_()
    layer(x).square().sum().backward()
    # A constant added to the keys cancels in the softmax.
    unused = {key for key, value in layer.named_parameters() if value.grad is None or not value.grad.any()}
    assert unused <= {"attention.key.bias"}
    assert (x.grad.abs().sum(dim=0) > 0).all()
