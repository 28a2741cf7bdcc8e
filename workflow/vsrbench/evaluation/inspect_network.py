"""Export attention weights and optical flow of a trained network.

The inspected token follows from a rule, so that no example is hand-picked: in each clip with saved sample
frames, it is the token that covers the patch of the middle scored frame with bicubic's largest error. The
network sees it in a tile and a window of the training size; the window's frames are consecutive, with the
token's frame in the middle where the clip allows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from models.baselines import ANCHOR
from models.config import ModelConfig
from models.vsr_transformer import SCALE, VSRTransformer
from vsrbench.core.config import load_variant
from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import check, origin
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.saved_frames import SAMPLES, middle_frame


@dataclass(frozen=True)
class Query:
    """The inspected token and the network's input; rows and columns count patches of the whole frame."""

    patch: int  # edge in LQ pixels
    tile: tuple[int, int, int, int]  # first row and column, number of rows and columns
    row: int
    column: int
    window_index: int  # of the token's frame
    frames: tuple[int, ...]  # of the clip, that form the window

    @property
    def token_index(self) -> int:
        """Index of the token among all tokens of the window, in the order frame, row, column."""
        top, left, rows, columns = self.tile
        return (self.window_index * rows + self.row - top) * columns + self.column - left

    def to_array(self) -> np.ndarray:
        """Encode as integers (8 + number of frames,); `from_array` is the inverse."""
        return np.array([self.patch, *self.tile, self.row, self.column, self.window_index, *self.frames])

    @classmethod
    def from_array(cls, numbers: np.ndarray) -> "Query":
        """Decode what `to_array` encoded."""
        patch, *tile, row, column, window_index = numbers[:8].tolist()
        return cls(patch, tuple(tile), row, column, window_index, tuple(numbers[8:].tolist()))


@dataclass(frozen=True)
class Inspection:
    """Attention weights and optical flow of one clip.

    `attention`, float32 (blocks, heads, frames, rows, columns), holds the softmax weights of the query over
    the tokens of its window, which sum to 1 in each block and head; empty without attention. `flow`, float32
    (2, h, w) in LQ pixels, x before y, leads from the query's frame to the previous one; empty without SPyNet
    and in a window that starts with the query's frame.
    """

    query: Query
    attention: np.ndarray
    flow: np.ndarray


def inspect(*, config: Path, weights: Path, manifest: Path, out: Path) -> None:
    """Write an `Inspection` of each of the first test clips of a data set to the safetensors file `out`.

    `config` is a resolved variant and `weights` the weights trained for it. Takes seconds on a CPU.
    Raises InputError if a frame is smaller than the size to which the network is fixed.
    """
    made = origin("inspect", config, weights, manifest)
    model = load_trained(load_variant(config), weights)
    if not isinstance(model, VSRTransformer):
        raise InputError(f"{config}: its network has neither attention nor flow that can be exported")
    found: dict[str, np.ndarray] = {}
    for clip in load_clips(manifest, "test")[:SAMPLES]:
        seen = inspect_clip(model, clip)
        found |= {
            f"{clip.name}:query": seen.query.to_array(),
            f"{clip.name}:attention": seen.attention,
            f"{clip.name}:flow": seen.flow,
        }
    with atomic_write(out) as partial:
        save_file(found, partial)
    made.record(out)


def read_inspection(path: Path, clip: str) -> Inspection | None:
    """Read what `inspect` wrote for one clip; None if it did not inspect that clip.

    Raises InputError if `path` is not a file that `inspect` wrote.
    """
    check(path)
    try:
        found = load_file(path)
        if f"{clip}:query" not in found:
            return None
        query = Query.from_array(found[f"{clip}:query"])
        return Inspection(query, found[f"{clip}:attention"], found[f"{clip}:flow"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        remedy = wrong_file_remedy("one that `vsrbench inspect` wrote")
        raise InputError(f"{path}: not written by `vsrbench inspect` ({error}); {remedy}") from None


@torch.inference_mode()
def inspect_clip(model: VSRTransformer, clip: Clip) -> Inspection:
    """Inspect one token of a clip; the reconstruction, which is not shown, is not computed.

    Raises InputError if the clip's frames are smaller than the size to which the network is fixed.
    """
    query = choose_query(model.config, clip)
    lq = torch.from_numpy(clip.read(query.frames)[0]).movedim(-1, 1)[None].float() / 255
    top, left, rows, columns = (query.patch * number for number in query.tile)
    inside = (..., slice(top, top + rows), slice(left, left + columns))
    tile, given = lq[inside], None
    if model.config.flow_source == "oracle":
        forward, backward = (torch.from_numpy(field[list(query.frames)])[None] for field in clip.read_flows())
        given = (forward[inside], backward[inside])
    with AttentionWeights(query.token_index) as seen:
        model.transform(model.extract(tile), tile, model.flows(tile, given))
    shape = (len(seen.weights), model.config.num_heads, len(query.frames), *query.tile[2:])
    attention = torch.stack(seen.weights).reshape(shape) if seen.weights else torch.empty(0)
    flow = torch.empty(0)
    if model.spynet is not None and query.window_index > 0:
        flow = model.spynet(lq[:, query.window_index], lq[:, query.window_index - 1])[0]
    return Inspection(query, attention.numpy(), flow.numpy())


class AttentionWeights(TorchFunctionMode):
    """A context that records the softmax weights of one query token in every attention computed within it.

    `weights` has one entry (heads, tokens) per attention, for the first clip of the batch.
    """

    def __init__(self, query: int) -> None:
        super().__init__()
        self.query = query
        self.weights: list[Tensor] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            q, k, *_ = args
            scores = (k[0] @ q[0, :, self.query, :, None] / math.sqrt(q.shape[-1])).squeeze(-1)
            mask = (kwargs or {}).get("attn_mask")
            if mask is not None:
                scores = scores.masked_fill(~mask[self.query], -math.inf)
            self.weights.append(scores.softmax(-1))
        return function(*args, **(kwargs or {}))


def choose_query(config: ModelConfig, clip: Clip) -> Query:
    """Choose the token to inspect in a clip, with its tile and window.

    Raises InputError if the frames are smaller than the size to which the network is fixed.
    """
    middle, patch = middle_frame(clip), config.patch_size
    lq, gt = (picture[0] for picture in clip.read([middle]))
    rows, columns = (size // patch for size in lq.shape[:2])
    height, width = (min(config.feat_size // patch, number) for number in (rows, columns))
    if config.fixed_size and min(height, width) * patch < config.feat_size:
        raise InputError(
            f"{clip.gt[middle]}: {config.fixed_size}, but the LQ frame has {lq.shape[0]} x {lq.shape[1]}"
        )
    row, column = worst_patch(lq, gt, patch)
    tile = (
        min(max(row - height // 2, 0), rows - height),
        min(max(column - width // 2, 0), columns - width),
        height,
        width,
    )
    first = max(0, min(middle - config.num_frames // 2, clip.num_frames - config.num_frames))
    frames = tuple(min(first + index, clip.num_frames - 1) for index in range(config.num_frames))
    return Query(patch, tile, row, column, frames.index(middle), frames)


def worst_patch(lq: np.ndarray, gt: np.ndarray, patch: int) -> tuple[int, int]:
    """Find the patch with bicubic's largest mean squared error; returns its row and column, in patches.

    `lq`, uint8 (h, w, 3), and `gt`, uint8 (4h, 4w, 3), are one frame; `patch` is an edge in LQ pixels.
    """
    enlarged = ANCHOR.enlarge(torch.from_numpy(lq).movedim(-1, 0).float()).movedim(0, -1)
    error = ((enlarged.clamp(0, 255).numpy() - gt) ** 2).mean(-1)
    edge = SCALE * patch
    rows, columns = (size // edge for size in error.shape)
    errors = error[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge).mean((1, 3))
    row, column = np.unravel_index(errors.argmax(), errors.shape)
    return int(row), int(column)
