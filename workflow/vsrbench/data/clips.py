"""Video clips and their frames on disk: 8-bit RGB, low quality (`lq`) and ground truth (`gt`), x4."""

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

    `lq` is empty if the data set has no low-quality frames of this degradation; they are then computed from
    the ground truth when the clip is read.
    """

    dataset: str
    name: str
    degradation: str
    lq: tuple[Path, ...]
    gt: tuple[Path, ...]
    scored: tuple[int, ...]  # indices of the frames that are scored
    flow: Path | None = None  # file of the exact optical flow, if known
    split: str = "test"
    size: tuple[int, int] | None = None  # official height and width of the ground truth, if there is one

    @property
    def num_frames(self) -> int:
        """Number of ground-truth frames."""
        return len(self.gt)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the clip is read from, without duplicates."""
        return tuple(dict.fromkeys((*self.gt, *self.lq, *filter(None, [self.flow]))))

    def read(self, frames: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read the frames with these indices, by default all of them.

        Returns (lq (t, h, w, 3), gt (t, 4h, 4w, 3)), uint8 RGB. Raises InputError for a frame that cannot be
        read, and if the sizes of lq and gt do not match.
        """
        frames = range(self.num_frames) if frames is None else frames
        gt = self.read_gt(frames)
        if not self.lq:
            return degrade(gt, self.degradation), gt
        lq = self.read_lq(frames)
        self.check_pair(lq, gt, frames[0])
        return lq, gt

    def read_gt(self, frames: Sequence[int]) -> np.ndarray:
        """Read ground-truth frames (t, 4h, 4w, 3), uint8 RGB, cropped to a multiple of 4."""
        return cut_to_scale(read_frames([self.gt[t] for t in frames]))

    def read_lq(self, frames: Sequence[int]) -> np.ndarray:
        """Read low-quality frames (t, h, w, 3), uint8 RGB, of a data set that has them."""
        return read_frames([self.lq[t] for t in frames])

    def check_pair(self, lq: np.ndarray, gt: np.ndarray, first: int) -> None:
        """Raise InputError unless `lq` has a quarter of the size of `gt`; `first` is the index of lq[0]."""
        if gt.shape[1:3] != (SCALE * lq.shape[1], SCALE * lq.shape[2]):
            sizes = f"{describe_size(lq)} is not a quarter of its ground truth {describe_size(gt)}"
            raise InputError(f"{self.lq[first]}: {sizes}; restore the matching pair")

    def read_flows(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the exact flow (flows_forward, flows_backward), each float32 (t, 2, h, w) in LQ pixels.

        Channel 0 is x and channel 1 is y. flows_forward[t] points from frame t to frame t-1 and
        flows_backward[t] to frame t+1; both are zero where that frame does not exist. Raises InputError if
        the clip has no exact flow.
        """
        if self.flow is None:
            raise InputError(
                f"{self.gt[0].parent}: {self.dataset} has no exact optical flow; use flow: spynet"
            )
        try:
            flows = load_file(self.flow)
            return flows["flows_forward"].astype(np.float32), flows["flows_backward"].astype(np.float32)
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{self.flow}: not a flow file ({error}); generate the data again") from None


def read_frames(paths: Sequence[Path]) -> np.ndarray:
    """Read PNGs as (t, h, w, 3) uint8 RGB; InputError for a frame that differs in size from the first."""
    frames = [read_frame(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            first = f"{describe_size(frames[0])} as {paths[0].name}"
            raise InputError(
                f"{path}: expected {first}, got {describe_size(frame)}; all frames of a clip need one size"
            )
    return np.stack(frames)


def read_frame(path: Path) -> np.ndarray:
    """Read one PNG as (h, w, 3) uint8 RGB; InputError for a damaged file and for any other format."""
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
        raise InputError(f"{path}: damaged PNG, cannot be decoded; copy it again")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        kind = {1: "grey", 3: "RGB", 4: "RGB with transparency"}[frame.shape[2] if frame.ndim == 3 else 1]
        raise InputError(f"{path}: {8 * frame.itemsize}-bit {kind} PNG; convert it to 8-bit RGB")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def write_frame(path: Path, frame: np.ndarray) -> None:
    """Write a frame (h, w, 3), uint8 RGB, as a PNG; OSError, naming the file, if that fails."""
    _, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    with writing(path):  # cv2.imwrite reports success on a full disk
        path.write_bytes(data.tobytes())


def cut_to_scale(frames: np.ndarray) -> np.ndarray:
    """Crop frames (t, h, w, 3) at the bottom and right to multiples of SCALE."""
    height, width = (edge - edge % SCALE for edge in frames.shape[1:3])
    return frames[:, :height, :width]


def describe_size(frames: np.ndarray) -> str:
    """Format the size of frames (..., h, w, 3) as "width x height"."""
    return f"{frames.shape[-2]}x{frames.shape[-3]}"
