"""Windows of frames for training: which ones, cut where, turned how. Nothing depends on what came before.

Every choice is drawn from (seed, place in the sequence of all windows of the run), so a resumed run, more
readers or more devices see the same windows in the same order.
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
    """Consecutive frames of one clip, cut to a square in LQ pixels, then turned (transposed last)."""

    clip: int
    start: int
    top: int
    left: int
    reverse: bool = False  # order of the frames
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False


class TrainingSet:
    """Batches of random windows of a frame store, and their augmentation as released (commit 8770126).

    Every window of every clip comes once an epoch, in a new order each time. (The released code draws a frame
    and, where its window would leave the clip, another: the same distribution for clips of equal length.) The
    crop is uniform over LQ pixels; reversal, both flips and transposition each happen with probability 1/2.

    Where the degradation's samples do not sit in the middle of four pixels, a flip takes the ground truth
    some pixels further up or to the left, so that the network sees one phase only; a window at the frame's
    edge, which has no such pixels, is left unflipped.
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
        """The windows of one iteration (from 1), over all devices together."""
        first = (iteration - 1) * self.batch_size
        return [self._window(place) for place in range(first, first + self.batch_size)]

    def batch(self, iteration: int, rank: int = 0, world_size: int = 1) -> dict[str, Tensor]:
        """This device's share of an iteration: lq (n, t, 3, h, w) and gt (n, t, 3, 4h, 4w) uint8.

        `with_flows` adds flows_forward and flows_backward (n, t, 2, h, w), float32.
        """
        return self.stack(self.windows(iteration)[rank::world_size])

    def stack(self, windows: list[Window]) -> dict[str, Tensor]:
        """These windows as one batch."""
        items = [turn(self._cut(window), window) for window in windows]
        batch = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
        return {key: frames.movedim(-1, 2) for key, frames in batch.items()}

    def fixed_windows(self, count: int) -> list[Window]:
        """At most `count` windows, always the same, for validation: the middle of evenly spread clips."""
        clips = self.store.clips
        chosen = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int).tolist()
        return [Window(index, *self._middle(clips[index])) for index in chosen]

    def describe(self, iteration: int) -> str:
        """The windows of an iteration in words, for messages."""
        return f"seed {self.seed}: " + "; ".join(
            f"clip {self.store.clips[w.clip].name} frames {w.start} to {w.start + self.num_frames - 1} "
            f"at row {w.top}, column {w.left}"
            for w in self.windows(iteration)
        )

    def _window(self, place: int) -> Window:
        epoch, index = divmod(place, len(self.clip_of))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.clip_of)))
        chosen = self._order[1][index]
        clip = self.store.clips[self.clip_of[chosen]]
        random = np.random.default_rng((self.seed, 1, place))
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
        """lq, gt and flows of a window, frames (t, h, w, c)."""
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
    """Reverse, flip and transpose a window's frames (t, h, w, c); flows turn with the frames."""
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
            f"clip {clip.name}: has {clip.num_frames} frames, fewer than model.num_frames {num_frames}; "
            "leave it out or shorten the window"
        )
    if min(clip.height, clip.width) < size:
        raise InputError(
            f"clip {clip.name}: {clip.width}x{clip.height} LQ pixels, smaller than a crop of {size}x{size}; "
            "leave it out or lower model.feat_size"
        )
