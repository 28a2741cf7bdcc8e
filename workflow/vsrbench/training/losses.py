"""Training losses. They are sums, so that the losses of parts of a batch add up to that of the batch."""

import torch
from torch import Tensor


def charbonnier(restored: Tensor, gt: Tensor) -> Tensor:
    """Compute the sum of sqrt(d^2 + 1e-12) over all values, d = restored - gt: in practice the L1 distance.

    Both have the same shape, RGB in [0, 1]; the result is a float32 scalar. The released code (commit
    8770126) also sums over windows, frames, channels and pixels.
    """
    return (restored.float() - gt).square().add(1e-12).sqrt().sum()


def end_point_error(flow: Tensor, exact: Tensor) -> Tensor:
    """Compute the sum over all pixels of |flow - exact|, for flows (n, 2, h, w) in pixels.

    The distance is sqrt(dx^2 + dy^2 + 1e-12), differentiable at zero; the result is a float32 scalar.
    """
    return (flow.float() - exact).square().sum(1).add(1e-12).sqrt().sum()


def psnr(restored: Tensor, gt: Tensor) -> Tensor:
    """Compute the PSNR in dB of each frame (..., c, h, w) in [0, 1], clamped and rounded to 8 bits.

    It shows the progress of training only. Results use `vsrbench.evaluation.metrics`, which training does not
    import, so that editing the metrics repeats no training.
    """
    error = (restored.float().clamp(0, 1) * 255).round() - (gt * 255).round()
    return 20 * torch.log10(255 / error.square().mean((-3, -2, -1)).sqrt())
