"""Degradations that produce low-quality frames from ground truth, by their published names, at x4.

`BI`         MATLAB's antialiased bicubic `imresize`.
`BD`         Gaussian blur, sigma 1.6, 12 x 12 taps, edges replicated, then every fourth pixel from index 1
             (`fspecial('gaussian', 12, 1.6)`, `imfilter`, `(2:4:end-2, 2:4:end-2)` in MATLAB).
             The even kernel spans 5 pixels before to 6 after the sample, so its centre is that of BI.
`BD_DUF`     DUF's blur: sigma 1.6, 13 x 13 taps, edges mirrored, every fourth pixel from index 0. It is
             shifted by 1.5 ground-truth pixels against BD: the two are not comparable.
`subsample`  every fourth pixel from index 1 without a low-pass: aliased, so that neighbouring frames contain
             information that one frame lacks. The offset from the centre of four pixels is the smallest
             possible, half a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from models.resize import imresize

SCALE = 4
BLUR_SIGMA = 1.6


@dataclass(frozen=True)
class Degradation:
    """A function from float frames (t, 4h, 4w, c) in [0, 255] to (t, h, w, c), and where it samples them."""

    downscale: Callable[[np.ndarray], np.ndarray]
    phase: float  # LQ pixel i is centred on GT pixel 4 i + phase

    @property
    def flip_shift(self) -> int:
        """GT pixels by which to shift a crop that is flipped, so that its phase stays the same.

        A flip turns the phase into 3 - phase, which is equal only for samples at the centre of four pixels.
        """
        return round(2 * self.phase - (SCALE - 1))


def degrade(gt: np.ndarray, name: str) -> np.ndarray:
    """Degrade frames, uint8 (t, 4h, 4w, 3) -> uint8 (t, h, w, 3), rounding half up as MATLAB does.

    `name` is a key of DEGRADATIONS; KeyError for any other. The computation is in float64.
    """
    downscale = DEGRADATIONS[name].downscale
    # One frame at a time: a whole clip in float64 takes eight times the memory of the clip.
    lq = [downscale(frame[None].astype(np.float64))[0] for frame in gt]
    return np.floor(np.stack(lq).clip(0, 255) + 0.5).astype(np.uint8)


def _bicubic(frames: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(frames).movedim(-1, 1)  # (t, c, 4h, 4w)
    return imresize(planes, 1 / SCALE).movedim(1, -1).numpy()


def _blur(frames: np.ndarray) -> np.ndarray:
    return _gaussian(frames, before=4, taps=12, border="edge")


def blur_duf(frames: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Blur and downscale float frames (t, h, w, c) as DUF's released code does, by any integer scale.

    Sigma is 0.4 times the scale, the kernel is cut off at four sigma, and edges are mirrored. Returns
    (t, h / scale, w / scale, c) in the dtype and range of the input.
    """
    radius = int(4 * 0.4 * scale + 0.5)
    return _gaussian(frames, before=radius, taps=2 * radius + 1, border="reflect", scale=scale)


def _subsample(frames: np.ndarray) -> np.ndarray:
    return frames[:, 1::SCALE, 1::SCALE]


def _gaussian(
    frames: np.ndarray, *, before: int, taps: int, border: Literal["edge", "reflect"], scale: int = SCALE
) -> np.ndarray:
    """Filter rows, then columns: sample i averages the `taps` pixels from `scale * i - before` on."""
    x = np.arange(taps) - (taps - 1) / 2
    weights = np.exp(-(x**2) / (2 * (BLUR_SIGMA * scale / SCALE) ** 2))
    weights = (weights / weights.sum()).astype(frames.dtype)
    for axis in (1, 2):
        length = frames.shape[axis]
        padding = [(0, 0)] * frames.ndim
        padding[axis] = (before, taps)
        padded = np.moveaxis(np.pad(frames, padding, border), axis, 0)
        blurred = sum(w * padded[k : k + length : scale] for k, w in enumerate(weights))
        frames = np.moveaxis(blurred, 0, axis)
    return frames


DEGRADATIONS = {
    "BI": Degradation(_bicubic, phase=1.5),
    "BD": Degradation(_blur, phase=1.5),
    "BD_DUF": Degradation(blur_duf, phase=0.0),
    "subsample": Degradation(_subsample, phase=1.0),
}
