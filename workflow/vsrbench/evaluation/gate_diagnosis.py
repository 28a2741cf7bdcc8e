"""Diagnose a failed bicubic gate by trying the common protocol mistakes one after the other."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch

from models.baselines import ANCHOR
from vsrbench.data.clips import Clip
from vsrbench.data.degradation import DEGRADATIONS, SCALE, degrade
from vsrbench.evaluation.inference import to_uint8
from vsrbench.evaluation.metrics import psnr

CLIPS, FRAMES = 20, 100  # examined: clips of a data set, frames of a clip
_SAME = 0.1  # grey levels; frames that differ by less on average count as the same
_SHIFTS = range(-SCALE // 2, SCALE // 2 + 1)  # ground-truth pixels
_REMAINDER = 1 / 3  # of the deviation, which a cause must leave at most to be accepted


def find_cause(clips: list[Clip], measured: dict[str, float], anchor: dict[str, Any]) -> str:
    """Name the likely cause in one line and, if a file is at fault, that file.

    `measured` is bicubic's PSNR in dB by channel (`RGB`, `Y`), which differs from `anchor`, a row of
    `workflow/reference/anchors.csv`. Examined are up to CLIPS of `clips` and FRAMES frames of each.
    """
    for clip in clips[:: -(-len(clips) // CLIPS)]:
        for t in range(min(clip.num_frames, FRAMES)):
            if cause := _fault_in_pair(clip, t):
                return f"{(clip.lq or clip.gt)[t]}: {cause}"
    channel, published = anchor["channel"], anchor["psnr_db"]
    allowed = _REMAINDER * abs(measured[channel] - published)
    other = "RGB" if channel == "Y" else "Y"
    if abs(measured[other] - published) < allowed:
        return f"the column of {channel} holds scores on {other}; correct the metric's channel"
    if channel == "Y" and abs(measured["Y"] + _gain_of_swapping(clips[0]) - published) < allowed:
        return f"{clips[0].gt[0].parent}: red and blue are swapped in all frames; store them as RGB"
    return (
        "the low-quality frames match their ground truth, so the ground truth is not the standard one, "
        "or bicubic is not MATLAB's, or borders are cropped"
    )


def _fault_in_pair(clip: Clip, t: int) -> str | None:
    """Describe what is wrong with a low-quality frame, given its ground truth; None if nothing is."""
    (lq,), (gt,) = clip.read([t])
    expected = degrade(gt[None], clip.degradation)[0]
    difference = _difference(lq, expected)
    if difference < _SAME:
        return None
    causes = [(_difference(lq, made), cause) for made, cause in _alternatives(clip, t, gt)]
    nearest, cause = min(causes)
    if nearest > _REMAINDER * difference:
        return f"is not the {clip.degradation} frame of {clip.gt[t].name}; get the standard pair"
    return cause


def _alternatives(clip: Clip, t: int, gt: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the low-quality frame that each common mistake would produce, with the cause in words."""
    expected = degrade(gt[None], clip.degradation)[0]
    yield expected[..., ::-1], "red and blue are swapped relative to its ground truth; store both as RGB"
    for name in DEGRADATIONS:
        if name != clip.degradation:
            yield (
                degrade(gt[None], name)[0],
                f"is {name}, not {clip.degradation}; use the {clip.degradation} frames",
            )
    height, width = expected.shape[:2]
    for method, name in (
        (cv2.INTER_CUBIC, "bicubic"),
        (cv2.INTER_LINEAR, "bilinear"),
        (cv2.INTER_AREA, "area"),
    ):
        made = cv2.resize(gt, (width, height), interpolation=method)
        yield made, f"was downsampled by OpenCV ({name}), not by MATLAB's antialiased imresize; regenerate it"
    for other in range(max(t - 3, 0), min(t + 4, clip.num_frames)):
        if other != t:
            made = degrade(clip.read_gt([other]), clip.degradation)[0]
            yield (
                made,
                f"matches {clip.gt[other].name}: a frame was skipped or duplicated; renumber the frames",
            )
    for down in _SHIFTS:
        for right in _SHIFTS:
            if down or right:
                made = degrade(np.roll(gt, (down, right), (0, 1))[None], clip.degradation)[0]
                shift = f"{down} down and {right} right, in ground-truth pixels"
                yield made, f"its sampling phase is off by {shift}; regenerate it with the standard phase"


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two uint8 frames (h, w, 3) in grey levels, without the border."""
    inner = np.s_[SCALE:-SCALE, SCALE:-SCALE]
    return float(np.abs(a[inner].astype(int) - b[inner]).mean())


def _gain_of_swapping(clip: Clip) -> float:
    """Change in dB of bicubic's PSNR on Y if red and blue are swapped in both frames; over a few frames."""
    lq, gt = clip.read(range(0, clip.num_frames, max(clip.num_frames // 5, 1)))
    enlarged = to_uint8(ANCHOR.enlarge(torch.from_numpy(lq).movedim(-1, 1).float() / 255))
    restored = enlarged.movedim(1, -1)
    swapped = psnr(restored.flip(-1), gt[..., ::-1].copy(), channel="y")
    return float(np.mean(swapped - psnr(restored, gt, channel="y")))
