"""Full-reference metrics of restored frames: PSNR and SSIM on RGB and on Y, LPIPS, tOF, tLP, seams.

Frames are uint8 RGB in [0, 255], arrays or tensors: one frame (h, w, 3), for which a metric is a float, or a
stack (n, h, w, 3), for which it is a float64 array (n,). Metrics are thus computed on clamped and rounded
frames, as is usual in the field, and no border is cropped unless requested. Y is the BT.601 luma in studio
range [16, 235], not rounded.
"""

import math
from collections.abc import Sequence
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

_BESIDE = 4  # pixels between the steps that a seam's is compared with: those of an LQ pixel
_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # Y - 16 of 8-bit R, G, B
_CENTRE = (255, 255, 255, 251)  # subtracted from the sum of two frames to centre it: of R, G, B, Y
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW, _SIGMA = 11, 1.5
_ROWS = 96  # rows computed at a time, so that they stay in the processor's cache


def psnr(restored: Frames, gt: Frames, *, channel: str = "rgb", crop_border: int = 0) -> float | np.ndarray:
    """Compute the peak signal-to-noise ratio in dB, peak 255; infinite for identical frames.

    Frames are uint8 RGB (h, w, 3), which give a number, or (n, h, w, 3), which give one for each frame.
    `channel` is `rgb` (mean squared error over all pixels and the three channels) or `y`. `crop_border`
    pixels are cropped from each edge. Raises InputError as `psnr_ssim` does.
    """
    return psnr_ssim(restored, gt, crop_border=crop_border)[f"psnr_{channel}"]


def ssim(restored: Frames, gt: Frames, *, channel: str = "rgb", crop_border: int = 0) -> float | np.ndarray:
    """Compute the structural similarity (Wang et al. 2004), in [-1, 1], 1 for identical frames.

    Takes frames as `psnr` does. `channel` is `rgb` (mean of the three channels) or `y`. `crop_border`
    pixels are cropped from each edge.
    As in the authors' released ssim_index.m: Gaussian window of 11 x 11, sigma 1.5, only where it fits inside
    the frame; K1 0.01, K2 0.03, dynamic range 255; variances without sample correction; no downsampling.
    Raises InputError as `psnr_ssim` does.
    """
    return psnr_ssim(restored, gt, crop_border=crop_border)[f"ssim_{channel}"]


@torch.inference_mode()
def psnr_ssim(
    restored: Frames, gt: Frames, *, crop_border: int = 0, device: torch.device | str | None = None
) -> dict[str, float | np.ndarray]:
    """Compute the four metrics of `PSNR_SSIM` in one pass, on `device` (by default that of `restored`).

    PSNR is in dB, SSIM in [-1, 1]; a number for one frame (h, w, 3), one for each of (n, h, w, 3). Raises
    InputError if the frames are not uint8 RGB of one shape, or are smaller than SSIM's window of 11 x 11
    pixels after cropping.
    """
    x, y = as_stacks(restored, gt, device=device)
    crop = slice(crop_border, -crop_border or None)
    x, y = (frames[:, crop, crop].permute(0, 3, 1, 2) for frames in (x, y))
    if min(x.shape[2:]) < _WINDOW:
        raise InputError(f"frames: {x.shape[3]}x{x.shape[2]} pixels, smaller than the 11x11 window of SSIM")
    batch = len(x) if x.is_cuda else 1
    pairs = zip(torch.split(x, batch), torch.split(y, batch), strict=True)
    parts = [_error_and_ssim(*pair) for pair in pairs]
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
    """Compute LPIPS (Zhang et al. 2018), version 0.1, with the backbone `net` (alex or squeeze).

    Takes frames as `psnr` does. At least 0, and 0 for identical frames. The backbone is read from the folder
    `weights` or torch's cache. Raises InputError if neither has it, and if the frames are not uint8 RGB of
    one shape.
    """
    metric = load_lpips(net, weights)
    if metric is None:
        raise InputError(f"no backbone for lpips_{net}: {HOW_TO_GET}")
    x, y = as_stacks(restored, gt, device=next(metric.parameters()).device)
    return _plain(distance(metric(x), metric(y)), restored)


def tof(restored_flow: np.ndarray, gt_flow: np.ndarray) -> float:
    """Compute tOF (Chu et al. 2020, TecoGAN): the mean end-point error in pixels of two `farneback` flows.

    Both (h, w, 2): one from the previous restored frame to this one, one between the same frames of the
    ground truth. Averaged over the whole frame, for every frame with a predecessor; TecoGAN's metrics.py
    skips two frames at each end of a clip and crops frames to multiples of 32.
    """
    return float(np.linalg.norm(restored_flow - gt_flow, axis=-1).mean())


def farneback(previous: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Estimate dense optical flow by Farneback's method with the settings of TecoGAN's metrics.py.

    From one uint8 RGB frame (h, w, 3) to the next; returns float32 (h, w, 2) in pixels, x before y.
    """
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (previous, frame))
    flow = np.empty((*first.shape, 2), np.float32)
    cv2.calcOpticalFlowFarneback(
        first,
        second,
        flow,
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
    return flow


def tlp(restored_change: float, gt_change: float) -> float:
    """Compute tLP (Chu et al. 2020, TecoGAN), times 100: the difference of two changes, at least 0.

    A change is the LPIPS between consecutive frames, of the restored clip and of the ground truth.
    """
    return 100 * abs(restored_change - gt_change)


@torch.inference_mode()
def seam(restored: Frames, gt: Frames, *, rows: Sequence[int], columns: Sequence[int]) -> float | np.ndarray:
    """Measure by how many levels of Y the steps across borders exceed those beside them.

    Takes frames as `psnr` does. A border at row r lies between rows r - 1 and r. Its step |Y(r) - Y(r - 1)|,
    less the mean of the steps four rows before and after, is averaged over all pixels of all borders, those
    of columns likewise. The steps beside are as far as LQ pixels are apart, because every enlargement leaves
    a grid of its own with that period, which is no seam. The ground truth's excess is subtracted: 0 means no
    seam, and in a flat frame the result is the seams' height. Where there is texture, a seam of the same
    height counts less, as it shows less. Below 0, borders are smoother than their surroundings. NaN without
    a border five pixels inside.
    """
    x, y = as_stacks(restored, gt)
    of_restored, of_gt = (_excess_step(frames, rows, columns) for frames in (x, y))
    return _plain(of_restored - of_gt, restored)


def _excess_step(frames: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    luma = (frames.double() @ frames.new_tensor(_LUMA, dtype=torch.float64))[..., None]
    total, count = luma.new_zeros(len(frames)), 0
    for dim, borders in ((1, rows), (2, columns)):
        size = luma.shape[dim]
        kept = [border for border in borders if _BESIDE < border < size - _BESIDE]
        inside = torch.tensor(kept, dtype=torch.long, device=luma.device)
        steps = luma.diff(dim=dim).abs()  # step r - 1 is that across border r
        across, before, after = (
            steps.index_select(dim, inside + shift) for shift in (-1, -1 - _BESIDE, -1 + _BESIDE)
        )
        excess = across - (before + after) / 2
        total, count = total + excess.sum(dim=(1, 2, 3)), count + excess[0].numel()
    return total / count if count else total * math.nan


def as_stacks(*stacks: Frames, device: torch.device | str | None = None) -> list[Tensor]:
    """Convert frames to uint8 tensors (n, h, w, 3) on `device`, by default that of the first.

    Raises InputError if they are not uint8 RGB, or differ in shape.
    """
    arrays = [np.ascontiguousarray(frames) if isinstance(frames, np.ndarray) else frames for frames in stacks]
    device = torch.as_tensor(arrays[0], device=device).device
    tensors = [torch.as_tensor(frames, device=device) for frames in arrays]
    for tensor in tensors:
        if tensor.dtype != torch.uint8 or tensor.ndim not in (3, 4) or tensor.shape[-1] != 3:
            raise InputError(
                f"frames: expected uint8 RGB (n, h, w, 3), got {tensor.dtype} {tuple(tensor.shape)}"
            )
        if tensor.shape != tensors[0].shape:
            raise InputError(
                f"frames: restored frames have shape {tuple(tensors[0].shape)}, but ground truth has "
                f"{tuple(tensor.shape)}"
            )
    return [tensor if tensor.ndim == 4 else tensor[None] for tensor in tensors]


def _plain(values: Tensor, frames: Frames) -> float | np.ndarray:
    """Return one value per frame in the form of `frames`: an array for a stack, a float for one frame."""
    return values.double().cpu().numpy() if frames.ndim == 4 else values.item()


def _error_and_ssim(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error and SSIM of R, G, B and Y, each (n, 4), of frames (n, 3, h, w)."""
    height, width = x.shape[2:]
    edge = _WINDOW - 1
    rows = height if x.is_cuda else _ROWS
    squares = similarity = torch.zeros(len(x), 4, dtype=torch.float64, device=x.device)
    for top in range(0, height - edge, rows):
        planes = _sum_and_difference(*(frames[:, :, top : top + rows + edge].float() for frames in (x, y)))
        new = slice(0, rows if top + rows < height - edge else None)  # rows not in the next band
        squares = squares + _total(planes[:, 12:, new])
        similarity = similarity + _total(_similarity(planes))
    return squares / (height * width), similarity / ((height - edge) * (width - edge))


def _sum_and_difference(x: Tensor, y: Tensor) -> Tensor:
    """Compute (n, 16, h, w): x + y - 255 and x - y, each of R, G, B, Y, then the squares of these eight.

    The sum is centred (`_CENTRE`) so that its squares keep their precision in float32.
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
    """SSIM at every position where the window fits, (n, 4, h - 10, w - 10), from `_sum_and_difference`.

    With s = x + y and d = x - y the two factors of SSIM are 1 - 2 E[d]^2 / (E[s]^2 + E[d]^2 + 2 C1) and
    1 - 2 Var[d] / (Var[s] + Var[d] + 2 C2): no cancellation for near-identical frames, and four window
    means instead of the five of the usual form.
    """
    mean_s, mean_d, variance_s, variance_d = torch.split(_window_means(planes), 4, dim=1)
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
