"""Frames that are read as they are asked for."""

import numpy as np
import pytest
from small_video import moving_gradient

from vsrbench.core.errors import InputError
from vsrbench.data.clips import write_frame
from vsrbench.data.lazy_frames import LazyFrames, frames_in_folder


def test_windows_read_each_frame_once_and_in_order():
    clip, read = moving_gradient(9), []
    frames = LazyFrames(lambda t: (read.append(t), clip[t])[1], 9, clip.shape[1:3], kept=6)
    assert frames.shape == clip.shape and frames.dtype == clip.dtype
    for window in ([2, 1, 0, 1, 2], [3, 2, 1], [4, 3, 2], [5, 4, 3], [6, 5, 4], [8, 7, 6]):
        assert np.array_equal(frames[window], clip[window])
    assert read == list(range(9))


def test_no_more_than_what_is_kept_stays_in_memory():
    read = []
    frames = LazyFrames(lambda t: (read.append(t), np.zeros((2, 2, 3), np.uint8))[1], 9, (2, 2)).keeping(3)
    for t in range(9):
        frames[[t]]
    frames[[8, 7, 6]]
    assert len(read) == 9
    frames[[5]]
    assert len(read) == 10


def test_folder_of_frames(tmp_path):
    for t, frame in enumerate(moving_gradient(4)):
        write_frame(tmp_path / f"im{t}.png", frame)
    assert np.array_equal(frames_in_folder(tmp_path)[[3, 0]], moving_gradient(4)[[3, 0]])
    write_frame(tmp_path / "im2.png", moving_gradient(1, 8, 12)[0])
    with pytest.raises(InputError, match=r"im2\.png: is 12x8, the first frame 32x24"):
        frames_in_folder(tmp_path)
    (tmp_path / "im2.png").unlink()
    with pytest.raises(InputError, match=r"im2\.png: No such file"):
        frames_in_folder(tmp_path)
