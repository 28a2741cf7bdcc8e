"""A clip of video and its frames on disk: 8-bit RGB, low quality (`lq`) and ground truth (`gt`) at x4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vsrbench.core.errors import InputError
from vsrbench.core.files import writing
from vsrbench.data.degradation import SCALE, degrade

PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Clip:
    """One clip of a data set, at one degradation.

    `lq` is empty where the data set ships no low-quality frames of this degradation; they are then made
    from the ground truth as they are read.
    """

    dataset: str
    name: str
    degradation: str
    lq: tuple[Path, ...]
    gt: tuple[Path, ...]
    scored: tuple[int, ...]  # the frames that count
    flow: Path | None = None  # exact optical flow, where it is known
    split: str = "test"
    size: tuple[int, int] | None = None  # height and width of the ground truth, where they are laid down

    @property
    def num_frames(self) -> int:
        return len(self.gt)

    @property
    def files(self) -> tuple[Path, ...]:
        """What the clip is read from, each file once."""
        return tuple(dict.fromkeys((*self.gt, *self.lq, *filter(None, [self.flow]))))

    def read(self, frames: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(lq (t, h, w, 3), gt (t, 4h, 4w, 3)) uint8 RGB of these frames, of all by default."""
        frames = range(self.num_frames) if frames is None else frames
        gt = self.read_gt(frames)
        if not self.lq:
            return degrade(gt, self.degradation), gt
        lq = self.read_lq(frames)
        self.check_pair(lq, gt, frames[0])
        return lq, gt

    def read_gt(self, frames: Sequence[int]) -> np.ndarray:
        """(t, 4h, 4w, 3) uint8 RGB, cut to a multiple of 4."""
        return cut_to_scale(read_frames([self.gt[t] for t in frames]))

    def read_lq(self, frames: Sequence[int]) -> np.ndarray:
        """(t, h, w, 3) uint8 RGB, as the data set ships them."""
        return read_frames([self.lq[t] for t in frames])

    def check_pair(self, lq: np.ndarray, gt: np.ndarray, first: int) -> None:
        """Raise InputError unless `lq`, frame `first` of the clip onwards, is a quarter of `gt` in size."""
        if gt.shape[1:3] != (SCALE * lq.shape[1], SCALE * lq.shape[2]):
            sizes = f"{describe_size(lq)} is not a quarter of its ground truth {describe_size(gt)}"
            raise InputError(f"{self.lq[first]}: {sizes}; restore the matching pair")

    def read_flows(self) -> tuple[np.ndarray, np.ndarray]:
        """(flows_forward, flows_backward), float32 (t, 2, h, w) in LQ pixels, x before y.

        flows_forward[t] leads from frame t to its place in frame t-1, flows_backward[t] to frame t+1; the
        ends, which have no such neighbour, are zero.
        """
        if self.flow is None:
            raise InputError(
                f"{self.gt[0].parent}: {self.dataset} has no exact optical flow; choose flow: spynet"
            )
        try:
            flows = load_file(self.flow)
            return tuple(flows[key].astype(np.float32) for key in ("flows_forward", "flows_backward"))
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{self.flow}: not a flow file ({error}); generate the data again") from None


def read_frames(paths: Sequence[Path]) -> np.ndarray:
    """(t, h, w, 3) uint8 RGB; an InputError names the first frame whose size is not the first one's."""
    frames = [read_frame(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            first = f"{describe_size(frames[0])} of {paths[0].name}"
            raise InputError(
                f"{path}: {describe_size(frame)}, not {first}; give all frames of a clip one size"
            )
    return np.stack(frames)


def read_frame(path: Path) -> np.ndarray:
    """One PNG as uint8 (h, w, 3) RGB; an InputError says what is wrong with any other file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; restore this frame") from None
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise InputError(f"{path}: not a PNG; store frames as 8-bit RGB PNG")
    if PNG_END not in data:
        raise InputError(f"{path}: truncated PNG; copy it again")
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if frame is None:
        raise InputError(f"{path}: damaged PNG, does not decode; copy it again")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        kind = {1: "grey", 3: "RGB", 4: "RGB with transparency"}[frame.shape[2] if frame.ndim == 3 else 1]
        raise InputError(f"{path}: {8 * frame.itemsize}-bit {kind} PNG; convert it to 8-bit RGB")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def write_frame(path: Path, frame: np.ndarray) -> None:
    """One uint8 (h, w, 3) RGB frame as a PNG; an OSError names the file that cannot be written whole."""
    _, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    with writing(path):  # not by cv2.imwrite, which on a full disk reports success
        path.write_bytes(data)


def cut_to_scale(frames: np.ndarray) -> np.ndarray:
    """Frames (t, h, w, 3) without the last rows and columns that do not fill an LQ pixel."""
    height, width = (edge - edge % SCALE for edge in frames.shape[1:3])
    return frames[:, :height, :width]


def describe_size(frames: np.ndarray) -> str:
    """Width x height of frames (..., h, w, 3), as people write it."""
    return f"{frames.shape[-2]}x{frames.shape[-3]}"
