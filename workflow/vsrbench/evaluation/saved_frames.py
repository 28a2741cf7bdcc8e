"""Restored frames saved for figures, of the first clips of a data set only.

<folder>/<clip>_<frame>.png    the middle scored frame
<folder>/rows/<clip>.png       the middle pixel row of every scored frame, stacked: a temporal profile
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vsrbench.core.files import atomic_write
from vsrbench.data.clips import Clip, write_frame

SAMPLES = 8  # clips of a data set of which frames are saved


def middle_frame(clip: Clip) -> int:
    """Return the index of the middle scored frame of a clip."""
    return clip.scored[len(clip.scored) // 2]


def middle_row(frame: np.ndarray) -> np.ndarray:
    """Return the middle pixel row (w, 3) of a frame (h, w, 3), as a view."""
    row: np.ndarray = frame[len(frame) // 2]
    return row


def frame_path(folder: Path, clip: str, frame: int) -> Path:
    """Return the file of a saved frame of a clip."""
    return folder / f"{_stem(clip)}_{frame:08d}.png"


def rows_path(folder: Path, clip: str) -> Path:
    """Return the file of a clip's temporal profile."""
    return folder / "rows" / f"{_stem(clip)}.png"


def _stem(clip: str) -> str:
    return clip.replace("/", "_")


def save_sample_frames(restored: Iterable[np.ndarray], clip: Clip, folder: Path) -> Iterator[np.ndarray]:
    """Pass on the scored frames of a clip, uint8 (h, w, 3), and save the middle frame and the middle rows."""
    middle, rows = middle_frame(clip), []
    for index, frame in zip(clip.scored, restored, strict=True):
        if index == middle:
            _write(frame_path(folder, clip.name, index), frame)
        rows.append(middle_row(frame).copy())  # a view would keep the whole frame in memory
        yield frame
    _write(rows_path(folder, clip.name), np.stack(rows))


def _write(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as partial:
        write_frame(partial, picture)
