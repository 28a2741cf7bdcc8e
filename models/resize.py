"""The resize that super-resolution calls bicubic: MATLAB's `imresize`, as matrix products."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def imresize(image: Tensor, scale: float) -> Tensor:
    """Resize float images (..., h, w) to (..., ceil(scale h), ceil(scale w)) as MATLAB's `imresize` does.

    Cubic kernel with a = -0.5, widened when the image shrinks so that it does not alias; borders continue
    mirrored, the edge pixel repeated. The result is neither clamped nor rounded.
    """
    if not image.is_floating_point():
        raise ValueError(f"imresize: wants floating-point images, got {image.dtype}")
    rows = [weights @ image[..., first:last, :] for first, last, weights in _bands(image, -2, scale)]
    image = torch.cat(rows, dim=-2)
    columns = [image[..., first:last] @ weights.T for first, last, weights in _bands(image, -1, scale)]
    return torch.cat(columns, dim=-1)


def _bands(image: Tensor, axis: int, scale: float) -> list[tuple[int, int, Tensor]]:
    return _cached_bands(image.shape[axis], scale, image.dtype, image.device)


@lru_cache(maxsize=32)
def _cached_bands(
    size: int, scale: float, dtype: torch.dtype, device: torch.device
) -> list[tuple[int, int, Tensor]]:
    """The matrix of one axis in groups of rows, each with the stretch of input that it is not zero on.

    The matrix is almost empty: in full it would take five to ten times as long.
    """
    bands = []
    for weights in _weights(size, scale).split(math.ceil(8 * max(scale, 1))):
        used = weights.any(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, weights[:, first:last].to(device, dtype)))
    return bands


def _weights(size: int, scale: float) -> Tensor:
    """The matrix (ceil(scale size), size) that resizes one axis, float64."""
    length = math.ceil(round(scale * size, 9))
    shrink = min(scale, 1.0)
    reach = 2 / shrink  # half the kernel's support
    centre = (torch.arange(length, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = (centre - reach).floor()[:, None] + torch.arange(math.ceil(2 * reach) + 2)
    weights = _cubic(shrink * (centre[:, None] - taps))
    weights = weights / weights.sum(dim=1, keepdim=True)
    mirrored = taps.long() % (2 * size)
    mirrored = torch.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    return torch.zeros(length, size, dtype=torch.float64).scatter_add_(1, mirrored, weights)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
