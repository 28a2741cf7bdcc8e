"""Look inside a trained network: where a token attends, over space and time, and what its optical flow is.

Nothing is picked for its looks. Of each clip of which `samples` keeps something, the token is asked that
covers the patch of the middle scored frame in which bicubic errs most. Around it lie a tile and a window as
the network was trained on; the window's frames follow each other, the token's one in their middle where the
clip allows.
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

from models.baselines import Bicubic
from models.config import ModelConfig
from models.vsr_transformer import SCALE, VSRTransformer
from vsrbench.core.config import load_variant
from vsrbench.core.errors import InputError, another
from vsrbench.core.files import atomic_write
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.saved_frames import SAMPLES, middle_frame


@dataclass(frozen=True)
class Query:
    """The token that is asked and what the network saw; rows and columns count patches of the whole frame."""

    patch: int  # edge in LQ pixels
    tile: tuple[int, int, int, int]  # first row and column, number of rows and columns
    row: int
    column: int
    window_index: int  # of the token's frame
    frames: tuple[int, ...]  # of the clip, that form the window

    @property
    def token_index(self) -> int:
        """Index of the token among all tokens of the window."""
        top, left, rows, columns = self.tile
        return (self.window_index * rows + self.row - top) * columns + self.column - left

    def to_array(self) -> np.ndarray:
        return np.array([self.patch, *self.tile, self.row, self.column, self.window_index, *self.frames])

    @classmethod
    def from_array(cls, numbers: np.ndarray) -> "Query":
        patch, *tile, row, column, window_index = numbers[:8].tolist()
        return cls(patch, tuple(tile), row, column, window_index, tuple(numbers[8:].tolist()))


@dataclass(frozen=True)
class Inspection:
    """What was seen of one clip.

    `attention`, (blocks, heads, frames, rows, columns), are the softmax weights that the query gives the
    tokens of its window, one for each block and head in all; empty without attention. `flow`, (2, h, w) in LQ
    pixels, x before y, leads from the query's frame to its place in the frame before; empty without SPyNet.
    """

    query: Query
    attention: np.ndarray
    flow: np.ndarray


def inspect(*, config: Path, weights: Path, manifest: Path, out: Path) -> None:
    """Write a `Inspection` of the first test clips of a data set into the safetensors file `out`.

    `config` is a resolved variant and `weights` what was trained for it. A processor does it in seconds.
    Raises InputError where the frames do not suit the network.
    """
    model = load_trained(load_variant(config), weights)
    found = {}
    for clip in load_clips(manifest, "test")[:SAMPLES]:
        seen = inspect_clip(model, clip)
        found |= {
            f"{clip.name}:query": seen.query.to_array(),
            f"{clip.name}:attention": seen.attention,
            f"{clip.name}:flow": seen.flow,
        }
    with atomic_write(out) as partial:
        save_file(found, partial)


def read_inspection(path: Path, clip: str) -> Inspection | None:
    """What `inspect` wrote of one clip, None if it left that clip out."""
    try:
        found = load_file(path)
        if f"{clip}:query" not in found:
            return None
        query = Query.from_array(found[f"{clip}:query"])
        return Inspection(query, found[f"{clip}:attention"], found[f"{clip}:flow"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        remedy = another("one that `vsrbench inspect` wrote")
        raise InputError(f"{path}: not written by `vsrbench inspect` ({error}); {remedy}") from None


@torch.inference_mode()
def inspect_clip(model: VSRTransformer, clip: Clip) -> Inspection:
    """Ask one token of a clip; what is not shown (the reconstruction) is not computed."""
    query = choose_query(model.config, clip)
    lq = torch.from_numpy(clip.read(query.frames)[0]).movedim(-1, 1)[None].float() / 255
    top, left, rows, columns = (query.patch * number for number in query.tile)
    inside = (..., slice(top, top + rows), slice(left, left + columns))
    tile, given = lq[inside], None
    if model.config.flow == "oracle" and model.config.feed_forward == "flow_aligned":
        fields = [torch.from_numpy(field[list(query.frames)])[None] for field in clip.read_flows()]
        given = tuple(field[inside] for field in fields)
    with AttentionWeights(query.token_index) as seen:
        model.transform(model.extract(tile), tile, model.flows(tile, given))
    shape = (len(seen.weights), model.config.num_heads, len(query.frames), *query.tile[2:])
    attention = torch.stack(seen.weights).reshape(shape) if seen.weights else torch.empty(0)
    flow = torch.empty(0)
    if model.spynet is not None and query.window_index > 0:
        flow = model.spynet(lq[:, query.window_index], lq[:, query.window_index - 1])[0]
    return Inspection(query, attention.numpy(), flow.numpy())


class AttentionWeights(TorchFunctionMode):
    """Within it, the softmax weights of one query token are collected from every attention that is computed.

    `weights` has an entry (heads, tokens) for each, of the first clip of the batch.
    """

    def __init__(self, query: int) -> None:
        super().__init__()
        self.query = query
        self.weights: list[Tensor] = []

    def __torch_function__(self, function: Callable, types: Sequence, args=(), kwargs=None) -> Any:
        if function is F.scaled_dot_product_attention:
            q, k, *_ = args
            scores = k[0] @ q[0, :, self.query, :, None] / math.sqrt(q.shape[-1])
            self.weights.append(scores.squeeze(-1).softmax(-1))
        return function(*args, **(kwargs or {}))


def choose_query(config: ModelConfig, clip: Clip) -> Query:
    """The token to ask in a clip, with its tile and window."""
    middle, patch = middle_frame(clip), config.patch_size
    lq, gt = (picture[0] for picture in clip.read([middle]))
    rows, columns = (size // patch for size in lq.shape[:2])
    height, width = (min(config.feat_size // patch, number) for number in (rows, columns))
    if config.fixed_size and min(height, width) * patch < config.feat_size:
        raise InputError(
            f"{clip.gt[middle]}: {config.fixed_size}, more than its LQ frame of {lq.shape[0]} x {lq.shape[1]}"
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
    """Row and column of the patch of a frame, uint8 (h, w, 3), in which bicubic's squared error is most."""
    enlarged = Bicubic()(torch.from_numpy(lq).movedim(-1, 0)[None, None].float())[0, 0].movedim(0, -1)
    error = ((enlarged.clamp(0, 255).numpy() - gt) ** 2).mean(-1)
    edge = SCALE * patch
    rows, columns = (size // edge for size in error.shape)
    errors = error[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge).mean((1, 3))
    return tuple(int(place) for place in np.unravel_index(errors.argmax(), errors.shape))
