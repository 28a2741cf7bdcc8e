"""Restore a clip with a network: tile by tile, as the released code is tested, or whole frames at once.

`tiled` is the released test procedure (commit 8770126): for every frame a window centred on it, cut into
overlapping tiles of `feat_size`, of which only the interior of the centre frame is kept. `whole_frame`
restores several frames of a window in one pass; it is many times faster and does not compute the same
function. In both modes, intermediate results that windows share (a frame's first features, a pair's flow)
are computed once, and results that would be discarded are not computed.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.config import NetworkConfig
from models.network import ClipNetwork, Network, SharingNetwork
from models.optical_flow import warp
from models.vsr_transformer import SCALE
from vsrbench.core.config import PRECISIONS
from vsrbench.core.device import computing_in
from vsrbench.core.errors import InputError, check_known
from vsrbench.evaluation.tiling import (
    Span,
    Window,
    centred_window,
    consecutive_windows,
    tile_spans,
    whole_span,
)

Tile = tuple[Span, Span]  # rows, columns
MODES = ("tiled", "whole_frame")
_Key = TypeVar("_Key", bound=Hashable)

# Values of one feature map that fill a device: small tiles are batched up to this number.
_VALUES_AT_ONCE = {"cpu": 2**21, "cuda": 2**25}


class Frames(Protocol):
    """What a clip is read from: an array (t, h, w, 3), or what has its shape and is indexed like it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, height, width, channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""

    def __getitem__(self, frames: list[int], /) -> np.ndarray:
        """Read the frames with these indices."""


@dataclass(frozen=True)
class RestoreOptions:
    """How a network is run over a clip; the defaults are the released procedure.

    `tile_overlap`, even, in LQ pixels, is half a tile by default; a smaller overlap is faster and not the
    released procedure. `precision` is one of `core.config.PRECISIONS`. Raises InputError for an unknown mode
    or precision.
    """

    mode: str = "tiled"
    tile_overlap: int | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_known("mode", self.mode, MODES, "mode")
        check_known("precision", self.precision, PRECISIONS, "precision")


def describe_method(config: NetworkConfig, options: RestoreOptions) -> dict[str, Any]:
    """State `mode`, `tile_overlap` (None for the default, or no tiles) and `precision` of restoring a clip.

    The mode of a network for whole clips is "whole_clip", whatever the options say.
    """
    if config.protocol == "clip":
        return {"mode": "whole_clip", "tile_overlap": None, "precision": options.precision}
    return asdict(options)


def restore_clip(
    model: Network,
    lq: Frames,
    options: RestoreOptions = RestoreOptions(),
    *,
    flows: tuple[np.ndarray, np.ndarray] | None = None,
    device: torch.device | str | None = None,
    frames: Iterable[int] | None = None,
    frames_at_once: int | None = None,
) -> Iterator[Tensor]:
    """Restore a clip `lq`, uint8 RGB (t, h, w, 3), and yield its images in order.

    Frames that are read as they are asked for (`LazyFrames`) keep a long clip out of memory.

    They are float32 (3, 4h, 4w) on the network's device, nominally in [0, 1] but not clamped; `to_frame`
    gives the 8-bit frame. `flows` (flows_forward, flows_backward), each (t, 2, h, w) in LQ pixels as
    `Clip.read_flows` returns them, are required if the network uses oracle flow and ignored otherwise.
    `frames` are the indices of the frames to restore, by default all. The network is moved to `device` if one
    is given.

    A network with the protocol "window" is run as `options` say, and memory holds one window, regardless of
    the clip's length. One with the protocol "clip" is run over the whole clip, whole frames at once, and
    memory grows by what it keeps of each frame, num_feat values per LQ pixel; with `frames_at_once`, it is
    run over segments of that many frames, of which a tenth on either side is discarded.

    Raises InputError when called, not at the first frame, if the clip does not suit network and options.
    """
    config = model.config
    _check(config, lq, flows, options)
    length, height, width, _ = lq.shape
    wanted = range(length) if frames is None else sorted(set(frames))
    if not set(wanted) <= set(range(length)):
        raise InputError(f"frames: expected indices in [0, {length}), got {list(wanted)}")
    if device is not None:
        model = model.to(device)
    windows: Iterable[Window]
    if isinstance(model, ClipNetwork):
        at_once = min(frames_at_once or length, length)
        windows = consecutive_windows(at_once, length, wanted, margin=at_once // 10)
        return _restore_segments(model, lq, options.precision, windows)
    if options.mode == "tiled":
        windows = (centred_window(frame, config.num_frames, length) for frame in wanted)
        rows, columns = (tile_spans(size, config.feat_size, options.tile_overlap) for size in (height, width))
    else:
        windows = consecutive_windows(config.num_frames, length, wanted)
        rows, columns = ([whole_span(size, config.patch_size)] for size in (height, width))
    flows = flows if config.flow_source == "oracle" else None
    return _restore(model, lq, flows, options.precision, windows, list(product(rows, columns)))


def to_frame(image: Tensor) -> np.ndarray:
    """Round a float image (3, h, w), nominally in [0, 1], to a uint8 RGB frame (h, w, 3) in host memory."""
    return to_uint8(image).movedim(0, -1).cpu().numpy()


def to_uint8(image: Tensor) -> Tensor:
    """Convert floating-point values, clamped to [0, 1], to uint8 in [0, 255], rounding half to even."""
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)


def _check(
    config: NetworkConfig,
    lq: Frames,
    flows: tuple[np.ndarray, np.ndarray] | None,
    options: RestoreOptions,
) -> None:
    if len(lq.shape) != 4 or lq.shape[-1] != 3 or lq.dtype != np.uint8 or not lq.shape[0]:
        raise InputError(f"clip: expected uint8 (frames, height, width, 3), got {lq.dtype} {lq.shape}")
    if config.protocol == "clip":
        return
    overlap = options.tile_overlap
    if overlap is not None and (overlap % 2 or not 0 <= overlap < config.feat_size):
        raise InputError(
            f"tile_overlap: must be even and less than a tile of {config.feat_size}, got {overlap}"
        )
    length, height, width, _ = lq.shape
    if options.mode == "whole_frame" and config.fixed_size:
        raise InputError(f"mode: whole_frame, but {config.fixed_size}; restore it tiled")
    if options.mode == "tiled" and length < config.num_frames:
        raise InputError(f"clip: has {length} frames; tiled needs at least {config.num_frames} (a window)")
    if options.mode == "tiled" and min(height, width) < config.feat_size:
        raise InputError(f"clip: frames of {height} x {width} are smaller than a tile of {config.feat_size}")
    if config.flow_source == "oracle" and (
        flows is None or any(flow.shape != (length, 2, height, width) for flow in flows)
    ):
        raise InputError(
            f"flows: model.flow oracle requires two arrays of shape {(length, 2, height, width)}"
        )


def _restore(
    model: Network,
    lq: Frames,
    flows: tuple[np.ndarray, np.ndarray] | None,
    precision: str,
    windows: Iterable[Window],
    tiles: Sequence[Tile],
) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    if device.type == "cuda":
        model.set_layout(precision)
    groups = _groups(tiles, model.config, device)
    shared = [_SharedWork(model) if isinstance(model, SharingNetwork) else _Work(model) for _ in groups]
    height, width = (SCALE * size for size in lq.shape[1:3])
    for window in windows:
        output = torch.empty(len(window.output_indices), 3, height, width, device=device)
        # Entered per window: a context left open at a yield would apply to the caller as well.
        with torch.inference_mode(), computing_in(precision, device):
            clip = _read_clip(lq, window, tiles[-1]).to(device)
            given = None if flows is None else _read_flows(flows, window, tiles[-1]).to(device)
            for group, work in zip(groups, shared, strict=True):
                restored = work.restore(
                    window, _crop(clip, group), None if given is None else _crop(given, group)
                )
                for (row, column), tile in zip(group, restored, strict=True):
                    part = tile[..., row.kept, column.kept]
                    output[..., row.first : row.last, column.first : column.last] = part
        yield from output


def _restore_segments(
    model: ClipNetwork, lq: Frames, precision: str, segments: Iterable[Window]
) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    for segment in segments:
        restored = model.restore(_reader(lq[list(segment.frames)], device), len(segment.frames))
        for index in range(max(segment.output_indices) + 1):
            # Entered per frame: a context left open at a yield would apply to the caller as well.
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, precision == "bfloat16"):
                image = next(restored)
            if index in segment.output_indices:
                yield image[0]


def _reader(frames: np.ndarray, device: torch.device) -> Callable[[int], Tensor]:
    """Give single frames, float32 (1, 3, h, w) in [0, 1], of frames uint8 (t, h, w, 3)."""
    return lambda t: torch.from_numpy(frames[t]).to(device).movedim(-1, 0)[None].float() / 255


def _groups(tiles: Sequence[Tile], config: NetworkConfig, device: torch.device) -> list[Sequence[Tile]]:
    """Group the tiles into batches that are restored together."""
    row, column = tiles[0]
    values = config.num_frames * config.num_feat * (row.stop - row.start) * (column.stop - column.start)
    at_once = max(1, _VALUES_AT_ONCE.get(device.type, 0) // values)
    return [tiles[index : index + at_once] for index in range(0, len(tiles), at_once)]


class _Work:
    """Restores a group of tiles window by window."""

    def __init__(self, model: Network):
        self._model = model

    def restore(self, window: Window, clip: Tensor, flows: Tensor | None) -> Tensor:
        """Restore the output frames (n, k, 3, 4h, 4w) of the tiles (n, t, 3, h, w) in [0, 1]."""
        forward, backward = (None, None) if flows is None else flows.chunk(2, dim=1)
        pair = None if forward is None or backward is None else (forward, backward)
        restored: Tensor = self._model(clip, pair)
        return restored[:, list(window.output_indices)]


class _SharedWork:
    """The same, caching what the next window needs as well."""

    def __init__(self, model: SharingNetwork):
        self._model = model
        self._features: dict[int, Tensor] = {}  # by frame
        self._flows: dict[tuple[int, int], Tensor] = {}  # by (from, to) frame

    def restore(self, window: Window, clip: Tensor, flows: Tensor | None) -> Tensor:
        """Restore the output frames (n, k, 3, 4h, 4w) of the tiles (n, t, 3, h, w) in [0, 1]."""
        outputs = list(window.output_indices)
        self._forget(set(window.frames))
        features = self._extract(window.frames, clip)
        if flows is None and self._model.spynet is not None:
            flows = self._estimate(self._model.spynet, window.frames, clip)
        pair = None
        if flows is not None:
            forward, backward = flows.chunk(2, dim=1)
            pair = (forward, backward)
        return self._model.reconstruct(self._model.transform(features, clip, pair, outputs), clip[:, outputs])

    def _forget(self, frames: set[int]) -> None:
        """Drop cached results that do not concern `frames`, to bound the memory."""
        self._features = {frame: known for frame, known in self._features.items() if frame in frames}
        self._flows = {pair: known for pair, known in self._flows.items() if set(pair) <= frames}

    def _extract(self, frames: tuple[int, ...], clip: Tensor) -> Tensor:
        indices = {frame: index for index, frame in enumerate(frames)}
        _add_missing(self._features, indices, lambda missing: self._model.extract(clip[:, missing]))
        # stacked so that the channels stay last in memory
        return torch.stack([self._features[frame].movedim(1, -1) for frame in frames], dim=1).movedim(-1, 2)

    def _estimate(self, spynet: nn.Module, frames: tuple[int, ...], clip: Tensor) -> Tensor:
        def flow(pairs: list[tuple[int, int]]) -> Tensor:
            ref, supp = (clip[:, indices] for indices in map(list, zip(*pairs, strict=True)))
            field: Tensor = spynet(ref.flatten(0, 1), supp.flatten(0, 1))
            return field.view(*ref.shape[:2], *field.shape[1:])

        pairs = {(frames[ref], frames[supp]): (ref, supp) for ref, supp in _neighbours(len(frames))}
        _add_missing(self._flows, pairs, flow)
        return torch.stack(
            [self._flows[frames[ref], frames[supp]] for ref, supp in _neighbours(len(frames))], 1
        )


def _add_missing(
    known: dict[_Key, Tensor], required: dict[_Key, Any], compute: Callable[[list[Any]], Tensor]
) -> None:
    """Add the missing keys of `required` to `known`, all by one call of `compute`, stacked on axis 1."""
    missing = [key for key in required if key not in known]
    if missing:
        computed = compute([required[key] for key in missing])
        known |= zip(missing, computed.unbind(1), strict=True)


def _neighbours(num_frames: int) -> list[tuple[int, int]]:
    """Pair each frame with its predecessor, then each with its successor; at the ends, with itself."""
    last = num_frames - 1
    before = [(index, max(index - 1, 0)) for index in range(num_frames)]
    return before + [(index, min(index + 1, last)) for index in range(num_frames)]


def _read_clip(lq: Frames, window: Window, last: Tile) -> Tensor:
    """Return a window's frames, float32 (1, t, 3, h, w) in [0, 1], padded to the end of the last tile."""
    frames = torch.from_numpy(_pad(lq[list(window.frames)].transpose(0, 3, 1, 2), last))
    return frames[None].float() / 255


def _read_flows(flows: tuple[np.ndarray, np.ndarray], window: Window, last: Tile) -> Tensor:
    """Return a window's flows (1, 2t, 2, h, w), forward then backward, padded likewise."""
    pairs = [(window.frames[ref], window.frames[supp]) for ref, supp in _neighbours(len(window.frames))]
    return torch.from_numpy(_pad(torch.cat([_chain(flows, *pair) for pair in pairs]).numpy(), last))[None]


def _chain(flows: tuple[np.ndarray, np.ndarray], ref: int, supp: int) -> Tensor:
    """Compose the flow (1, 2, h, w) between two frames of a clip from the flows between neighbours."""
    step = 1 if supp > ref else -1
    total = torch.zeros(1, *flows[0].shape[1:])
    for frame in range(ref, supp, step):
        field = torch.from_numpy(np.asarray(flows[step > 0][frame : frame + 1], np.float32))
        total = total + warp(field, total, padding_mode="border")
    return total


def _pad(frames: np.ndarray, last: Tile) -> np.ndarray:
    """Replicate the last row and column of frames (t, c, h, w) to the end of the last tile."""
    padding = [(0, span.stop - size) for span, size in zip(last, frames.shape[-2:], strict=True)]
    return np.pad(frames, [(0, 0), (0, 0), *padding], mode="edge")


def _crop(clip: Tensor, tiles: Sequence[Tile]) -> Tensor:
    """Cut the tiles (n, t, c, h, w) out of one clip (1, t, c, h, w)."""
    return torch.cat([clip[..., row.start : row.stop, column.start : column.stop] for row, column in tiles])
