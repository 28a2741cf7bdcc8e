"""The frame store: training clips as uncompressed arrays, so that a crop needs no decoding.

    <folder>/index.json            degradation and clips, in order
    <folder>/<clip>/lq.npy         uint8 (t, h, w, 3)
    <folder>/<clip>/gt.npy         uint8 (t, 4h, 4w, 3)
    <folder>/<clip>/flows.npy      float32 (2, t, 2, h, w), forward and backward; if the flow is known
    <folder>/<clip>/clip.json      the clip's entry in the index, and the fingerprint of its source

A clip's folder gets its name when it is complete, and the index is written when all clips are. Arrays are
memory-mapped: the operating system caches what is in use, and workers share it. A frame of 1280 x 720 takes
2.9 MB, the 26,600 of REDS 78 GB.

Measured alternatives, in crops of 256 x 256 x 5 per second in one process, with the files in the page cache
and not: 840 and 58 here (before rows were read ahead, which makes the latter 2.8 times as many), 82 and 54 in
zarr (chunks of 256 x 256; with LZ4 46 and 35), 5 and 6 in PNGs decoded by OpenCV, as files or in an LMDB.
"""

import json
import mmap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsrbench.core.errors import InputError
from vsrbench.core.files import sha256
from vsrbench.core.lineage import check
from vsrbench.data.degradation import SCALE


@dataclass(frozen=True)
class StoredClip:
    """A clip in a store; height and width are in LQ pixels."""

    name: str
    num_frames: int
    height: int
    width: int
    files: dict[str, dict[str, Any]]  # name -> bytes and sha256 of an array


class FrameStore:
    """A complete store, opened for reading crops; clips are addressed by their index in `clips`.

    Opening compares the size of every array with the index. An array is read once in full, to compare its
    sha256, before the first crop from it (`digests=True`: at once). Both raise InputError for a store that is
    missing, incomplete or damaged.
    """

    def __init__(self, folder: Path, *, digests: bool = False) -> None:
        self.folder = Path(folder)
        self._locks: dict[tuple[int, str], threading.Lock] = {}  # of the arrays that are yet to be verified
        check(self.folder / "index.json")
        try:
            index = json.loads((self.folder / "index.json").read_text())
            self.degradation: str = index["degradation"]
            self.clips = tuple(StoredClip(**clip) for clip in index["clips"])
        except FileNotFoundError:
            raise InputError(f"{self.folder}: no complete frame store; build it first") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.folder / 'index.json'}: unreadable ({error}); build the store again"
            ) from None
        self.has_flows = all("flows.npy" in clip.files for clip in self.clips)
        for number, clip in enumerate(self.clips):
            for file, facts in clip.files.items():
                check_array(self.folder / clip.name / file, facts, digests)
                if not digests:
                    self._locks[number, file] = threading.Lock()

    def crop(
        self,
        clip: int,
        frames: Sequence[int],
        top: int,
        left: int,
        size: int,
        gt_shift: tuple[int, int] = (0, 0),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a crop (lq (t, size, size, 3), gt (t, 4 size, 4 size, 3)), uint8 RGB.

        `top`, `left` and `size` are in LQ pixels; `gt_shift` moves the crop of the ground truth (down, right)
        in GT pixels.
        """
        down, right = gt_shift
        return (
            _cut(self._array(clip, "lq.npy"), frames, top, left, size),
            _cut(self._array(clip, "gt.npy"), frames, SCALE * top + down, SCALE * left + right, SCALE * size),
        )

    def crop_flows(
        self, clip: int, frames: Sequence[int], top: int, left: int, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a crop (flows_forward, flows_backward), each float32 (t, 2, size, size), in LQ pixels.

        Directions are those of `Clip.read_flows`. Raises InputError for a store without exact flow.
        """
        if not self.has_flows:
            raise InputError(f"{self.folder}: contains no exact optical flow; use flow: spynet")
        rows, columns = slice(top, top + size), slice(left, left + size)
        forward, backward = (
            np.stack([direction[t, :, rows, columns] for t in frames])
            for direction in self._array(clip, "flows.npy")
        )
        return forward, backward

    def _array(self, clip: int, file: str) -> np.memmap:
        self._verify(clip, file)
        # Mapped for each crop: a persistent map for each of 64,612 clips would exceed the system's limit.
        array: np.memmap = np.load(self.folder / self.clips[clip].name / file, mmap_mode="r")
        return array

    def _verify(self, clip: int, file: str) -> None:
        """Compare an array's sha256 with the index on the first call; threads wait for the one that reads."""
        lock = self._locks.get((clip, file))
        if lock is None:
            return
        with lock:
            if (clip, file) in self._locks:
                stored = self.clips[clip]
                check_array(self.folder / stored.name / file, stored.files[file], digests=True)
                del self._locks[clip, file]


def _cut(array: np.memmap, frames: Sequence[int], top: int, left: int, size: int) -> np.ndarray:
    _read_ahead(array, frames, top, size)
    return np.stack([array[t, top : top + size, left : left + size] for t in frames])


def _read_ahead(array: np.memmap, frames: Sequence[int], top: int, size: int) -> None:
    """Let the system read the rows of all frames at once, instead of a few pages at each page fault."""
    mapped = array.base
    assert isinstance(mapped, mmap.mmap)
    frame, row = array.strides[:2]
    for t in frames:
        # The map begins at the start of the file's page that holds the first value.
        start = array.offset % mmap.ALLOCATIONGRANULARITY + t * frame + top * row
        aligned = start // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, aligned, start - aligned + size * row)


def check_array(path: Path, facts: dict[str, Any], digests: bool) -> None:
    """Raise InputError unless the file's size, and with `digests` its sha256, are those of the index."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; build the store again") from None
    if size != facts["bytes"]:
        raise InputError(f"{path}: expected {facts['bytes']} bytes, got {size}; build the store again")
    if digests and sha256(path) != facts["sha256"]:
        raise InputError(
            f"{path}: contents changed since it was written; build the store again (`vsrbench repair --deep`)"
        )
