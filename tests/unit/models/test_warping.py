"""Warping by gathering pixels, which a GPU can differentiate in a fixed order, equals `grid_sample`."""

import pytest
import torch

from models.optical_flow import sample_pixels, warp


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_result_and_gradients(padding_mode):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 9, 12, dtype=torch.float64, requires_grad=True)
    flow = (5 * torch.randn(3, 2, 9, 12, dtype=torch.float64)).requires_grad_()  # many leave the image
    columns, rows = torch.arange(12) + flow[:, 0], torch.arange(9).view(-1, 1) + flow[:, 1]
    expected, found = warp(x, flow, padding_mode), sample_pixels(x, columns, rows, padding_mode)
    weights = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, flow), weights),
        torch.autograd.grad(expected, (x, flow), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
