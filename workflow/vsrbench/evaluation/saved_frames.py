"""What is kept of restored clips to be looked at, and where: of the first few clips of a data set only.

<folder>/<clip>_<frame>.png    the middle one of the scored frames
<folder>/rows/<clip>.png       the middle row of pixels of every scored frame, one below the other
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vsrbench.core.files import atomic_write
from vsrbench.data.clips import Clip, write_frame

SAMPLES = 8  # clips of a data set


def middle_frame(clip: Clip) -> int:
    return clip.scored[len(clip.scored) // 2]


def middle_row(frame: np.ndarray) -> np.ndarray:
    """(w, 3) of a frame (h, w, 3)."""
    return frame[len(frame) // 2]


def frame_path(folder: Path, clip: str, frame: int) -> Path:
    return folder / f"{_stem(clip)}_{frame:08d}.png"


def rows_path(folder: Path, clip: str) -> Path:
    return folder / "rows" / f"{_stem(clip)}.png"


def _stem(clip: str) -> str:
    return clip.replace("/", "_")


def save_sample_frames(restored: Iterable[np.ndarray], clip: Clip, folder: Path) -> Iterator[np.ndarray]:
    """Pass the scored frames of a clip on, uint8 (h, w, 3), and write what is kept of them."""
    middle, rows = middle_frame(clip), []
    for index, frame in zip(clip.scored, restored, strict=True):
        if index == middle:
            _write(frame_path(folder, clip.name, index), frame)
        rows.append(middle_row(frame).copy())  # a view would hold all of the frame
        yield frame
    _write(rows_path(folder, clip.name), np.stack(rows))


def _write(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as partial:
        write_frame(partial, picture)
