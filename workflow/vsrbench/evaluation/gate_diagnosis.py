"""Why do scores miss their anchor? The known traps of the protocol, tried one after the other."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch

from models.baselines import Bicubic
from vsrbench.data.clips import Clip
from vsrbench.data.degradation import DEGRADATIONS, SCALE, degrade
from vsrbench.evaluation.inference import to_uint8
from vsrbench.evaluation.metrics import psnr

CLIPS, FRAMES = 20, 100  # of a data set, and of a clip, that are looked at
_SAME = 0.1  # mean grey levels by which two makings of the same low-quality frame may differ
_SHIFTS = range(-SCALE // 2, SCALE // 2 + 1)  # ground-truth pixels
_NEARER = 1 / 3  # of the way from its anchor that a score, or a frame, may be off once the cause is right


def find_cause(clips: list[Clip], measured: dict[str, float], anchor: dict[str, Any]) -> str:
    """One line that names the likely cause and, where one is at fault, the file.

    `measured`: bicubic's PSNR by channel (RGB, Y), which misses `anchor`.
    """
    for clip in clips[:: -(-len(clips) // CLIPS)]:
        for t in range(min(clip.num_frames, FRAMES)):
            if cause := _fault_of_pair(clip, t):
                return f"{(clip.lq or clip.gt)[t]}: {cause}"
    channel, published = anchor["channel"], anchor["psnr_db"]
    allowed = _NEARER * abs(measured[channel] - published)
    other = "RGB" if channel == "Y" else "Y"
    if abs(measured[other] - published) < allowed:
        return f"scores of {other} stand where those of {channel} belong; correct the metric's channel"
    if channel == "Y" and abs(measured["Y"] + _gain_of_swapping(clips[0]) - published) < allowed:
        return f"{clips[0].gt[0].parent}: red and blue are swapped in all frames; store them as RGB"
    return (
        "low-quality frames and ground truth fit each other, so the ground truth is not the standard one, or "
        "bicubic is not MATLAB's, or borders are cut"
    )


def _fault_of_pair(clip: Clip, t: int) -> str | None:
    """What is wrong with one low-quality frame, if anything, given its ground truth."""
    (lq,), (gt,) = clip.read([t])
    expected = degrade(gt[None], clip.degradation)[0]
    difference = _difference(lq, expected)
    if difference < _SAME:
        return None
    causes = [(_difference(lq, made), cause) for made, cause in _alternatives(clip, t, gt)]
    nearest, cause = min(causes)
    if nearest > _NEARER * difference:
        return f"is no {clip.degradation} of {clip.gt[t].name}; get the standard pair"
    return cause


def _alternatives(clip: Clip, t: int, gt: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Low-quality frames as the traps make them, each with its name."""
    expected = degrade(gt[None], clip.degradation)[0]
    yield expected[..., ::-1], "red and blue are swapped against its ground truth; store both as RGB"
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
        yield made, f"was made by OpenCV ({name}), not by MATLAB's antialiased imresize; make it again"
    for other in range(max(t - 3, 0), min(t + 4, clip.num_frames)):
        if other != t:
            made = degrade(clip.read_gt([other]), clip.degradation)[0]
            yield (
                made,
                f"belongs to {clip.gt[other].name}: a frame was skipped or came twice; number them alike",
            )
    for down in _SHIFTS:
        for right in _SHIFTS:
            if down or right:
                made = degrade(np.roll(gt, (down, right), (0, 1))[None], clip.degradation)[0]
                shift = f"{down} down and {right} right, in ground-truth pixels"
                yield made, f"its sampling phase is off by {shift}; make it again with the standard phase"


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in grey levels away from the border."""
    inner = np.s_[SCALE:-SCALE, SCALE:-SCALE]
    return float(np.abs(a[inner].astype(int) - b[inner]).mean())


def _gain_of_swapping(clip: Clip) -> float:
    """What reading red as blue, in both frames, does to bicubic's PSNR on Y: mean over a few frames."""
    lq, gt = clip.read(range(0, clip.num_frames, max(clip.num_frames // 5, 1)))
    enlarged = to_uint8(Bicubic()(torch.from_numpy(lq).movedim(-1, 1)[None].float() / 255))[0]
    restored = enlarged.movedim(1, -1)
    swapped = psnr(restored.flip(-1), gt[..., ::-1].copy(), channel="y")
    return float(np.mean(swapped - psnr(restored, gt, channel="y")))
