"""What training minimises. Losses are sums, so that the parts of a batch add up to the whole."""

import torch
from torch import Tensor


def charbonnier(restored: Tensor, gt: Tensor) -> Tensor:
    """Sum of sqrt(d^2 + 1e-12) over every value, d = restored - gt: in practice the L1 distance.

    In float32. The released code (commit 8770126) too sums over windows, frames, channels and pixels.
    """
    return (restored.float() - gt).square().add(1e-12).sqrt().sum()


def end_point_error(flow: Tensor, exact: Tensor) -> Tensor:
    """Sum over pixels of the distance between two flows (n, 2, h, w), in pixels; smooth at zero."""
    return (flow.float() - exact).square().sum(1).add(1e-12).sqrt().sum()


def psnr(restored: Tensor, gt: Tensor) -> Tensor:
    """dB of each frame (..., c, h, w) in [0, 1] after rounding to 8 bits; a sign of progress, not a result.

    Results come from `vsrbench.evaluation.metrics`, which training does not import: an edit there repeats
    no training.
    """
    error = (restored.float().clamp(0, 1) * 255).round() - (gt * 255).round()
    return 20 * torch.log10(255 / error.square().mean((-3, -2, -1)).sqrt())
