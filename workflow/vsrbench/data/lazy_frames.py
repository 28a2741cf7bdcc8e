"""The frames of a clip of any length, each read when it is asked for."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from vsrbench.core.errors import InputError
from vsrbench.data.clips import describe_size, read_frame
from vsrbench.data.layout import numbered_frames


class LazyFrames:
    """Frames (t, h, w, 3), uint8 RGB, indexed like an array by a list of frames.

    `read` gives one frame; it is called in ascending order within a list, and the last `kept` frames stay in
    memory, so that windows over a clip read each frame once.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, read: Callable[[int], np.ndarray], num_frames: int, size: tuple[int, int], kept: int = 1
    ):
        self.shape = (num_frames, *size, 3)
        self._read_anew, self._read = read, lru_cache(maxsize=kept)(read)

    def keeping(self, kept: int) -> "LazyFrames":
        """Return the same frames, of which another number stays in memory."""
        return LazyFrames(self._read_anew, self.shape[0], (self.shape[1], self.shape[2]), kept)

    def __getitem__(self, frames: Sequence[int]) -> np.ndarray:
        found = {t: self._read(t) for t in sorted(set(frames))}
        return np.stack([found[t] for t in frames])


def frames_in_folder(folder: Path) -> LazyFrames:
    """Open a folder of numbered PNG frames; reads all of them once, so that damage is found at once.

    Raises InputError for a frame that is missing, cannot be read, or differs in size from the first.
    """
    paths = numbered_frames(folder)
    first = read_frame(paths[0])
    for path in paths[1:]:
        if (frame := read_frame(path)).shape != first.shape:
            raise InputError(
                f"{path}: is {describe_size(frame)}, the first frame {describe_size(first)}; "
                "all frames of a clip need one size"
            )
    return LazyFrames(lambda t: read_frame(paths[t]), len(paths), first.shape[:2])
