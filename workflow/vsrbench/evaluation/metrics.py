"""How close restored frames are to the ground truth: PSNR and SSIM on RGB and on Y, LPIPS, tOF, tLP.

Frames are 8-bit RGB, one (h, w, 3) or a stack (n, h, w, 3), arrays or tensors; a stack gives an array (n,),
one frame a float. Measured is, as is usual in the field, the clamped and rounded picture; no border is cut
unless asked. Y is BT.601 luma in studio range (16 to 235), not rounded.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vsrbench.core.errors import InputError
from vsrbench.evaluation.lpips_distance import HOW_TO_GET, distance, full_precision, load_lpips

Frames = np.ndarray | Tensor
PSNR_SSIM = ("psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y")

_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # Y - 16 of 8-bit R, G, B
_CENTRE = (255, 255, 255, 251)  # what the centred sum of two frames lacks in R, G, B, Y
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW, _SIGMA = 11, 1.5
_ROWS = 96  # as many rows at a time as stay in a processor's cache


def psnr(restored: Frames, gt: Frames, *, channel: str = "rgb", crop_border: int = 0) -> float | np.ndarray:
    """Peak signal-to-noise ratio in dB, over all pixels and channels; infinite for identical frames."""
    return psnr_ssim(restored, gt, crop_border=crop_border)[f"psnr_{channel}"]


def ssim(restored: Frames, gt: Frames, *, channel: str = "rgb", crop_border: int = 0) -> float | np.ndarray:
    """Structural similarity (Wang et al. 2004), at most 1; for RGB the mean of the three channels.

    Gaussian window of 11 x 11, sigma 1.5, only where it fits inside the frame; K1 0.01, K2 0.03; variances
    without sample correction, no down-scaling.
    """
    return psnr_ssim(restored, gt, crop_border=crop_border)[f"ssim_{channel}"]


@torch.inference_mode()
def psnr_ssim(
    restored: Frames, gt: Frames, *, crop_border: int = 0, device: torch.device | str | None = None
) -> dict[str, float | np.ndarray]:
    """All four of `PSNR_SSIM` in one pass, on `device` (by default where `restored` is)."""
    x, y = as_stacks(restored, gt, device=device)
    crop = slice(crop_border, -crop_border or None)
    x, y = (frames[:, crop, crop].permute(0, 3, 1, 2) for frames in (x, y))
    if min(x.shape[2:]) < _WINDOW:
        raise InputError(f"frames of {x.shape[3]}x{x.shape[2]} are smaller than the 11x11 window of SSIM")
    at_once = len(x) if x.is_cuda else 1
    parts = [_error_and_similarity(*pair) for pair in zip(x.split(at_once), y.split(at_once), strict=True)]
    mean_square, similarity = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    values = {
        "psnr_rgb": 10 * torch.log10(255**2 / mean_square[:, :3].mean(1)),
        "ssim_rgb": similarity[:, :3].mean(1),
        "psnr_y": 10 * torch.log10(255**2 / mean_square[:, 3]),
        "ssim_y": similarity[:, 3],
    }
    return {name: _plain(value, restored) for name, value in values.items()}


# The metrics of single frames, by the function of two stacks that computes them in one pass.
FRAME_METRICS = {PSNR_SSIM: psnr_ssim}


@torch.inference_mode()
def lpips(
    restored: Frames, gt: Frames, *, net: str = "alex", weights: Path | None = None
) -> float | np.ndarray:
    """LPIPS version 0.1 with the backbone `net` (alex or squeeze), 0 for identical frames.

    The backbone comes from the folder `weights` or from torch's cache; InputError where neither has it.
    """
    metric = load_lpips(net, weights)
    if metric is None:
        raise InputError(f"no backbone for lpips_{net}: {HOW_TO_GET}")
    x, y = as_stacks(restored, gt, device=next(metric.parameters()).device)
    return _plain(distance(metric(x), metric(y)), restored)


def tof(restored_flow: np.ndarray, gt_flow: np.ndarray) -> float:
    """tOF (Chu et al. 2020, TecoGAN): mean length in pixels of the difference of two `farneback` flows.

    One flow leads from the previous to this restored frame, the other does so in the ground truth. Over
    the whole frame and every frame that has a predecessor; TecoGAN's own script leaves out two frames at
    each end and a border that is no multiple of 32.
    """
    return float(np.linalg.norm(restored_flow - gt_flow, axis=-1).mean())


def farneback(previous: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Dense flow (h, w, 2) from one 8-bit RGB frame to the next, with TecoGAN's settings."""
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (previous, frame))
    return cv2.calcOpticalFlowFarneback(
        *grey, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )


def tlp(restored_change: float, gt_change: float) -> float:
    """tLP (TecoGAN): 100 times how much the LPIPS from frame to frame differs from the ground truth's."""
    return 100 * abs(restored_change - gt_change)


def as_stacks(*stacks: Frames, device: torch.device | str | None = None) -> list[Tensor]:
    """Checked uint8 tensors (n, h, w, 3) on `device`, by default the first one's; InputError if not alike."""
    arrays = [np.ascontiguousarray(frames) if isinstance(frames, np.ndarray) else frames for frames in stacks]
    device = torch.as_tensor(arrays[0], device=device).device
    tensors = [torch.as_tensor(frames, device=device) for frames in arrays]
    for tensor in tensors:
        if tensor.dtype != torch.uint8 or tensor.ndim not in (3, 4) or tensor.shape[-1] != 3:
            raise InputError(
                f"frames: must be 8-bit RGB (n, h, w, 3), not {tensor.dtype} {tuple(tensor.shape)}"
            )
        if tensor.shape != tensors[0].shape:
            raise InputError(
                f"restored frames {tuple(tensors[0].shape)} and ground truth {tuple(tensor.shape)} differ"
            )
    return [tensor if tensor.ndim == 4 else tensor[None] for tensor in tensors]


def _plain(values: Tensor, frames: Frames) -> float | np.ndarray:
    """One value a frame as `frames` came: an array for a stack, a float for one frame."""
    return values.double().cpu().numpy() if frames.ndim == 4 else values.item()


def _error_and_similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error and SSIM of R, G, B and Y, each (n, 4), of frames (n, 3, h, w)."""
    height, width = x.shape[2:]
    edge = _WINDOW - 1
    rows = height if x.is_cuda else _ROWS
    squares, similarity = 0, 0
    for top in range(0, height - edge, rows):
        planes = _sum_and_difference(*(frames[:, :, top : top + rows + edge].float() for frames in (x, y)))
        new = slice(0, rows if top + rows < height - edge else None)  # what the next band does not repeat
        squares = squares + _total(planes[:, 12:, new])
        similarity = similarity + _total(_similarity(planes))
    return squares / (height * width), similarity / ((height - edge) * (width - edge))


def _sum_and_difference(x: Tensor, y: Tensor) -> Tensor:
    """(n, 16, h, w): x + y - 255 and x - y, each of R, G, B, Y, then the squares of these eight.

    The sum is centred (`_CENTRE`) so that its squares keep their digits in float32.
    """
    planes = x.new_empty(len(x), 16, *x.shape[2:])
    total, difference = planes[:, :4], planes[:, 4:8]
    torch.add(x, y, out=total[:, :3]).sub_(255)
    torch.sub(x, y, out=difference[:, :3])
    red, green, blue = _LUMA
    for part in (total, difference):
        torch.mul(part[:, 0], red, out=part[:, 3]).add_(part[:, 1], alpha=green).add_(part[:, 2], alpha=blue)
    torch.mul(planes[:, :8], planes[:, :8], out=planes[:, 8:])
    return planes


def _similarity(planes: Tensor) -> Tensor:
    """SSIM at every place where the window fits, (n, 4, h - 10, w - 10), from `_sum_and_difference`.

    With s = x + y and d = x - y the two factors of SSIM read 1 - 2 E[d]^2 / (E[s]^2 + E[d]^2 + 2 C1) and
    1 - 2 Var[d] / (Var[s] + Var[d] + 2 C2): near-identical frames lose nothing to cancellation, and four
    averages do where the usual form takes five.
    """
    mean_s, mean_d, variance_s, variance_d = _window_means(planes).split(4, dim=1)
    variance_s.addcmul_(mean_s, mean_s, value=-1)
    variance_d.addcmul_(mean_d, mean_d, value=-1)
    mean_s.add_(mean_s.new_tensor(_CENTRE).view(4, 1, 1)).square_()
    luminance = _agreement(mean_s, mean_d.square_(), _C1)
    contrast = _agreement(variance_s, variance_d, _C2)
    return luminance.mul_(contrast)


def _agreement(total: Tensor, difference: Tensor, constant: float) -> Tensor:
    """1 - 2 difference / (total + difference + 2 constant); overwrites both for speed."""
    return difference.div_(total.add_(difference).add_(2 * constant)).mul_(-2).add_(1)


def _window_means(planes: Tensor) -> Tensor:
    """Gaussian-weighted means over every window that fits: (n, c, h, w) to (n, c, h - 10, w - 10)."""
    offset = torch.arange(_WINDOW, device=planes.device, dtype=torch.float64) - _WINDOW // 2
    kernel = torch.exp(-(offset**2) / (2 * _SIGMA**2))
    channels = planes.shape[1]
    row = (kernel / kernel.sum()).float().expand(channels, 1, 1, _WINDOW)
    with full_precision():
        columns_done = functional.conv2d(planes, row.transpose(2, 3), groups=channels)
        return functional.conv2d(columns_done, row, groups=channels)


def _total(planes: Tensor) -> Tensor:
    """Sum over height and width: rows in float32, then float64."""
    return planes.sum(3).sum(2, dtype=torch.float64)
