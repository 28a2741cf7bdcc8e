"""folder: your own clips, as folders of numbered PNG frames or as video files.

    <root>/<clip>/<frame>.png        or <root>/<clip>.mp4 (.avi, .mkv, .mov, .webm): the ground truth
    <root>/GT/<clip>/<frame>.png     or this, together with the low-quality frames:
    <root>/BIx4/<clip>/<frame>.png   (or BDx4, ...); without it, computed from the ground truth

`root` is the folder itself. Every clip is a test clip, unless the study trains on the folder and splits it
(`split`); all frames are scored, cropped to a multiple of 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vsrbench.data.clips import Clip, cut_to_scale
from vsrbench.data.layout import numbered_frames
from vsrbench.data.registry import DataSet
from vsrbench.data.video import READABLE, Video


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the clips in `root`, sorted by name; other files are ignored."""
    paths = sorted(path for path in dataset.folder(root).iterdir() if path.name[0] != ".")
    lq = root / f"{degradation}x4"
    return [
        _video_clip(path, degradation)
        if path.suffix.lower() in READABLE
        else _frame_clip(path, lq, degradation)
        for path in paths
        if path.is_dir() or path.suffix.lower() in READABLE
    ]


def _frame_clip(folder: Path, lq: Path, degradation: str) -> Clip:
    gt = numbered_frames(folder)
    low = numbered_frames(lq / folder.name) if lq.is_dir() else ()
    return Clip("folder", folder.name, degradation, low, gt, scored=tuple(range(len(gt))))


def _video_clip(path: Path, degradation: str) -> Clip:
    gt = (path,) * _open(path).num_frames
    return VideoClip("folder", path.name, degradation, (), gt, scored=tuple(range(len(gt))))


@dataclass(frozen=True)
class VideoClip(Clip):
    """A clip in a video file, which is the path of every frame; fast if frames are read in order."""

    def read_gt(self, frames: Sequence[int]) -> np.ndarray:
        """Read ground-truth frames (t, 4h, 4w, 3), uint8 RGB, cropped to a multiple of 4."""
        video = _open(self.gt[0])
        return cut_to_scale(np.stack([video.read(t) for t in frames]))


_open = lru_cache(maxsize=8)(Video)
