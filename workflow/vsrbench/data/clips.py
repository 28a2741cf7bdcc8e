"""A clip of video and its frames on disk: 8-bit RGB, low quality (`lq`) and ground truth (`gt`) at x4."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vsrbench.data.degradation import SCALE, degrade
from vsrbench.errors import InputError

PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Clip:
    """One clip of a data set, at one degradation.

    `lq` is empty where the data set ships no low-quality frames of this degradation; they are then made
    from the ground truth as they are read. `gt` is empty where there is no ground truth to score against.
    """

    dataset: str
    name: str
    degradation: str
    lq: tuple[Path, ...]
    gt: tuple[Path, ...]
    scored: tuple[int, ...]  # the frames that count
    flow: Path | None = None  # exact optical flow, where it is known
    split: str = "test"

    @property
    def num_frames(self) -> int:
        return len(self.gt or self.lq)

    @property
    def folder(self) -> Path:
        """Where its ground truth lies, or its low-quality frames if it has none."""
        return (self.gt or self.lq)[0].parent

    def read(self, frames: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(lq (t, h, w, 3), gt (t, 4h, 4w, 3)) uint8 RGB of these frames, of all by default.

        The ground truth is cut to a multiple of 4. Without ground truth its array is (t, 0, 0, 3).
        """
        frames = range(self.num_frames) if frames is None else frames
        gt = self.read_gt(frames)
        lq = read_frames([self.lq[t] for t in frames]) if self.lq else degrade(gt, self.degradation)
        if gt.size and gt.shape[1:3] != (SCALE * lq.shape[1], SCALE * lq.shape[2]):
            raise InputError(
                f"{self.lq[frames[0]]}: {_size(lq[0])} is not a quarter of its ground truth {_size(gt[0])}; "
                f"restore the matching pair"
            )
        return lq, gt

    def read_gt(self, frames: Sequence[int]) -> np.ndarray:
        """(t, 4h, 4w, 3) uint8 RGB, cut to a multiple of 4; (t, 0, 0, 3) where there is none."""
        if not self.gt:
            return np.empty((len(frames), 0, 0, 3), np.uint8)
        gt = read_frames([self.gt[t] for t in frames])
        height, width = (edge - edge % SCALE for edge in gt.shape[1:3])
        return gt[:, :height, :width]

    def read_flows(self) -> tuple[np.ndarray, np.ndarray]:
        """(flows_forward, flows_backward), float32 (t, 2, h, w) in LQ pixels, x before y.

        flows_forward[t] leads from frame t to its place in frame t-1, flows_backward[t] to frame t+1; the
        ends, which have no such neighbour, are zero.
        """
        if self.flow is None:
            raise InputError(f"{self.folder}: {self.dataset} has no exact optical flow; choose flow: spynet")
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
            raise InputError(
                f"{path}: {_size(frame)}, but its clip starts with {_size(frames[0])}; all frames of a clip "
                f"must have one size"
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
    if not data.endswith(PNG_END):
        raise InputError(f"{path}: truncated PNG; copy it again")
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if frame is None:
        raise InputError(f"{path}: damaged PNG, does not decode; copy it again")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        kind = {1: "grey", 3: "RGB", 4: "RGB with transparency"}[frame.shape[2] if frame.ndim == 3 else 1]
        raise InputError(f"{path}: {8 * frame.itemsize}-bit {kind} PNG; convert it to 8-bit RGB")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def write_frame(path: Path, frame: np.ndarray) -> None:
    """One uint8 (h, w, 3) RGB frame as a PNG."""
    if not cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
        raise InputError(f"{path}: cannot be written; is the folder there and the disk not full?")


def list_frames(folder: Path) -> tuple[Path, ...]:
    """The numbered PNGs of a folder in order, checked to be without gaps (`00000000.png`, `im1.png`, ...)."""
    paths = {path: path.stem[len(path.stem.rstrip("0123456789")) :] for path in Path(folder).glob("*.png")}
    if not paths:
        raise InputError(f"{folder}: holds no PNG frames")
    unnumbered = [path for path, number in paths.items() if not number]
    if unnumbered:
        raise InputError(f"{min(unnumbered)}: name ends in no frame number; number the frames of a clip")
    ordered = sorted(paths, key=lambda path: int(paths[path]))
    for path, after in zip(ordered, ordered[1:], strict=False):
        number, expected = int(paths[after]), int(paths[path]) + 1
        if number != expected:
            missing = after.with_stem(
                after.stem.removesuffix(paths[after]) + f"{expected:0{len(paths[after])}d}"
            )
            raise InputError(f"{missing}: missing in the middle of its clip; restore this frame")
    return tuple(ordered)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"
