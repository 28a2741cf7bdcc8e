"""MATLAB's bicubic `imresize`, the standard downscaling of super-resolution, as matrix products."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def imresize(image: Tensor, scale: float) -> Tensor:
    """Resize float images (..., h, w) to (..., ceil(scale h), ceil(scale w)) as MATLAB's `imresize` does.

    Uses Keys' cubic kernel with a = -0.5, widened by 1/scale when shrinking (antialiasing), and symmetric
    padding, which repeats the edge pixel. Keeps the dtype and range of the input; the result is neither
    clamped nor rounded. Raises ValueError for images that are not floating-point.
    """
    if not image.is_floating_point():
        raise ValueError(f"imresize: expected floating-point images, got {image.dtype}")
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
    """Split the matrix of one axis into bands of rows: (first, last, weights) of its nonzero columns.

    The matrix is sparse; multiplying by all of it would take five to ten times as long.
    """
    bands = []
    for weights in _weights(size, scale).split(math.ceil(8 * max(scale, 1))):
        used = weights.any(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, weights[:, first:last].to(device, dtype)))
    return bands


def _weights(size: int, scale: float) -> Tensor:
    """Compute the matrix (ceil(scale size), size) that resizes one axis, float64."""
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
