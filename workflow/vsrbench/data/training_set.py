"""Training windows: their sampling, cropping and augmentation, without state between iterations.

Every choice is drawn from (seed, position in the run's sequence of windows), so a resumed run, more workers
or more devices see the same windows in the same order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsrbench.core.errors import InputError
from vsrbench.data.degradation import DEGRADATIONS, SCALE

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one clip, cropped to a square in LQ pixels, then augmented (transposed last)."""

    clip: int
    start: int
    top: int
    left: int
    reverse: bool = False  # the order of the frames
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False


class TrainingSet:
    """Batches of random windows of a frame store, augmented as in the released code (commit 8770126).

    Every window of every clip occurs once per epoch, in a random order. (The released code draws a frame and,
    if its window would leave the clip, another: the same distribution for clips of equal length.) The crop is
    uniform over LQ pixels; reversal, both flips and transposition each have probability 1/2.

    If the samples of the degradation are not at the centre of four pixels, a flip shifts the crop of the
    ground truth up or to the left, so that the network sees a single phase; a window at the edge of the
    frame, where those pixels do not exist, is not flipped.

    num_frames: frames per window. size: height and width of the crop in LQ pixels. Raises InputError for a
    clip that is smaller than a window.
    """

    def __init__(
        self, store: Any, *, num_frames: int, size: int, batch_size: int, seed: int, with_flows: bool = False
    ):
        self.store, self.num_frames, self.size = store, num_frames, size
        self.batch_size, self.seed, self.with_flows = batch_size, seed, with_flows
        for clip in store.clips:
            _check_fits(clip, num_frames, size)
        self.flip_shift = DEGRADATIONS[store.degradation].flip_shift
        windows = [clip.num_frames - num_frames + 1 for clip in store.clips]
        self.clip_of = np.repeat(np.arange(len(windows)), windows)
        self.start_of = np.concatenate([np.arange(count) for count in windows])
        self._order = (-1, self.clip_of)  # epoch and its permutation

    def windows(self, iteration: int) -> list[Window]:
        """Draw the windows of one iteration (counted from 1) for all devices together."""
        first = (iteration - 1) * self.batch_size
        return [self._window(position) for position in range(first, first + self.batch_size)]

    def batch(self, iteration: int, rank: int = 0, world_size: int = 1) -> dict[str, Tensor]:
        """Read this device's share of an iteration: lq (n, t, 3, h, w) and gt (n, t, 3, 4h, 4w), uint8 RGB.

        `with_flows` adds flows_forward and flows_backward (n, t, 2, h, w), float32 in LQ pixels.
        """
        return self.stack(self.windows(iteration)[rank::world_size])

    def stack(self, windows: list[Window]) -> dict[str, Tensor]:
        """Read these windows as one batch, with the keys and shapes of `batch`."""
        items = [turn(self._cut(window), window) for window in windows]
        batch = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
        return {key: frames.movedim(-1, 2) for key, frames in batch.items()}

    def fixed_windows(self, count: int) -> list[Window]:
        """Return at most `count` windows for validation, always the same: centres of evenly spread clips."""
        clips = self.store.clips
        chosen = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int).tolist()
        return [Window(index, *self._middle(clips[index])) for index in chosen]

    def describe(self, iteration: int) -> str:
        """Describe the windows of an iteration, for messages."""
        return f"seed {self.seed}: " + "; ".join(
            f"clip {self.store.clips[w.clip].name} frames {w.start} to {w.start + self.num_frames - 1} "
            f"at row {w.top}, column {w.left}"
            for w in self.windows(iteration)
        )

    def _window(self, position: int) -> Window:
        epoch, index = divmod(position, len(self.clip_of))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.clip_of)))
        chosen = self._order[1][index]
        clip = self.store.clips[self.clip_of[chosen]]
        random = np.random.default_rng((self.seed, 1, position))
        top, left = (int(random.integers(edge - self.size + 1)) for edge in (clip.height, clip.width))
        reverse, flip_x, flip_y, transpose = map(bool, random.integers(2, size=4))
        return Window(
            int(self.clip_of[chosen]),
            int(self.start_of[chosen]),
            top,
            left,
            reverse,
            flip_x and SCALE * left + self.flip_shift >= 0,
            flip_y and SCALE * top + self.flip_shift >= 0,
            transpose,
        )

    def _middle(self, clip: Any) -> tuple[int, int, int]:
        return (
            (clip.num_frames - self.num_frames) // 2,
            (clip.height - self.size) // 2,
            (clip.width - self.size) // 2,
        )

    def _cut(self, window: Window) -> Arrays:
        """Crop lq, gt and flows of a window from the store, frames (t, h, w, c)."""
        frames = range(window.start, window.start + self.num_frames)
        place = (window.clip, frames, window.top, window.left, self.size)
        gt_shift = (self.flip_shift * window.flip_y, self.flip_shift * window.flip_x)
        lq, gt = self.store.crop(*place, gt_shift)
        if not self.with_flows:
            return {"lq": lq, "gt": gt}
        forward, backward = (np.moveaxis(flows, 1, -1).copy() for flows in self.store.crop_flows(*place))
        forward[0] = backward[-1] = 0  # those neighbours are outside the window
        return {"lq": lq, "gt": gt, "flows_forward": forward, "flows_backward": backward}


def turn(frames: Arrays, window: Window) -> Arrays:
    """Reverse, flip and transpose the frames (t, h, w, c) of a window, transforming flow vectors as well.

    Reversing the frames swaps flows_forward and flows_backward.
    """
    if window.reverse:
        frames = {key: values[::-1] for key, values in frames.items()}
        if "flows_forward" in frames:
            frames |= {
                "flows_forward": frames["flows_backward"],
                "flows_backward": frames["flows_forward"],
            }
    return {key: _turn(values, window, is_flow=key.startswith("flows")) for key, values in frames.items()}


def _turn(values: np.ndarray, window: Window, is_flow: bool) -> np.ndarray:
    sign = np.ones(2, np.float32)
    if window.flip_x:
        values, sign[0] = values[:, :, ::-1], -1
    if window.flip_y:
        values, sign[1] = values[:, ::-1], -1
    if is_flow:
        values = values * sign
    if window.transpose:
        values = values.swapaxes(1, 2)
        values = values[..., ::-1] if is_flow else values  # x becomes y
    return values


def _check_fits(clip: Any, num_frames: int, size: int) -> None:
    if clip.num_frames < num_frames:
        raise InputError(
            f"clip {clip.name}: {clip.num_frames} frames, fewer than model.num_frames {num_frames}; "
            "leave it out or shorten the window"
        )
    if min(clip.height, clip.width) < size:
        raise InputError(
            f"clip {clip.name}: {clip.width}x{clip.height} LQ pixels, smaller than a crop of {size}x{size}; "
            "leave it out or lower model.feat_size"
        )
