"""The Video Super-Resolution Transformer (Cao et al., arXiv 2106.06847), exactly as its code was released.

Clips are (n, t, 3, h, w), RGB in [0, 1]; features are (n, t, c, h, w), channels last in memory.
`output_indices` are indices into the frames of a window: only those frames are computed.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import ATTENTIONS
from models.blocks import FrameNorm, Reconstruction, ResidualStack, per_frame, select_frames
from models.config import ModelConfig
from models.feed_forward import FEED_FORWARDS, Flows
from models.network import SharingNetwork
from models.optical_flow import SPyNet
from models.positional_encoding import POSITIONAL_ENCODINGS

SCALE = 4


class TransformerBlock(nn.Module):
    """A pre-norm transformer block: attention, then feed-forward, each with a residual connection.

    As in the released code, the normalised input of the attention is added to its output, too. With attention
    "none", that half of the block is left out, including its norm.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention = None
        if config.attention != "none":
            self.norm1 = _norm(config)
            self.attention = ATTENTIONS[config.attention](config)
        self.norm2 = _norm(config)
        self.feed_forward = FEED_FORWARDS[config.feed_forward](config)

    def forward(self, x: Tensor, clip: Tensor, flows: Flows | None, output_indices: Sequence[int]) -> Tensor:
        """Compute the features (n, len(output_indices), c, h, w) of the requested frames only.

        x: features of all frames of the window (n, t, c, h, w). clip: its LQ frames (n, t, 3, h, w).
        flows: as `VSRTransformer.flows` returns them.
        """
        last = x.shape[1] - 1
        before = [max(index - 1, 0) for index in output_indices]
        after = [min(index + 1, last) for index in output_indices]
        needed = sorted({*before, *output_indices, *after})
        x = self.attend(x, needed)
        z = per_frame(self.norm2, x)
        before, output, after = (
            [needed.index(index) for index in indices] for indices in (before, output_indices, after)
        )
        if flows is not None:
            flows = select_frames(flows[0], output_indices), select_frames(flows[1], output_indices)
        update: Tensor = self.feed_forward(
            *(select_frames(z, indices) for indices in (before, output, after)),
            select_frames(clip, output_indices),
            flows,
        )
        return select_frames(x, output) + update

    def attend(self, x: Tensor, frame_indices: Sequence[int]) -> Tensor:
        """Apply the attention half to x (n, t, c, h, w); returns (n, len(frame_indices), c, h, w)."""
        if self.attention is None:
            return select_frames(x, frame_indices)
        y = per_frame(self.norm1, x)
        attended: Tensor = self.attention(y, frame_indices)
        return select_frames(x, frame_indices) + (select_frames(y, frame_indices) + attended)


class VSRTransformer(SharingNetwork):
    """The full network and, selected by its configuration, every ablation of it."""

    config: ModelConfig

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.extraction = ResidualStack(3, config.num_feat, config.num_extract_blocks)
        self.spynet = SPyNet(config.flow_num_feat) if config.flow_source == "spynet" else None
        self.positional_encoding = POSITIONAL_ENCODINGS[config.positional_encoding](config)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.reconstruction = Reconstruction(config.num_feat, config.num_reconstruct_blocks)

    def forward(self, clip: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore every frame of a clip (n, t, 3, h, w), RGB in [0, 1].

        Returns (n, t, 3, 4h, 4w), float, not clamped.

        `flows` is (flows_forward, flows_backward), each (n, t, 2, h, w) in LQ pixels: they warp the previous
        and the next frame onto each frame. They are required if `config.flow_source` is oracle and ignored
        otherwise: the network then estimates its own flow, or uses none. Raises ValueError for a clip that
        does not fit the configuration, and for missing flows.
        """
        self._check(clip)
        features = self.extract(clip)
        flows = self.flows(clip, flows)
        features = self.transform(features, clip, flows)
        return self.reconstruct(features, clip)

    def extract(self, clip: Tensor) -> Tensor:
        """Extract the features (n, t, c, h, w) of each frame of a clip (n, t, 3, h, w) independently."""
        return per_frame(self.extraction, clip)

    def flows(self, clip: Tensor, flows: Flows | None = None) -> Flows | None:
        """Return the flows that the blocks use, each (n, t, 2, h, w) in LQ pixels, or None if they use none.

        At the ends of the clip, the flow is that of a frame to itself. Raises ValueError for missing flows.
        """
        if self.config.flow_source is None:
            return None
        if self.spynet is None:
            if flows is None:
                raise ValueError("model.flow is oracle: pass the exact flows with the clip")
            return flows
        before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
        after = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1)
        ref, supp = torch.cat([clip, clip]), torch.cat([before, after])
        flows = self.spynet(ref.flatten(0, 1), supp.flatten(0, 1)).unflatten(0, ref.shape[:2]).chunk(2)
        return flows

    def transform(
        self,
        features: Tensor,
        clip: Tensor,
        flows: Flows | None,
        output_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Add the positional encoding to the features (n, t, c, h, w) and apply the blocks.

        The last block computes the frames `output_indices` only, by default all. `clip` and `flows` are as
        for `forward`; returns (n, len(output_indices), c, h, w).
        """
        every = list(range(features.shape[1]))
        x = self.positional_encoding(
            features.to(clip.dtype)
        )  # keep the residual path in float32 under autocast
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, clip, flows, every)
        computed: Tensor = last(x, clip, flows, every if output_indices is None else output_indices)
        return computed

    def reconstruct(self, features: Tensor, clip: Tensor) -> Tensor:
        """Reconstruct frames (n, t, 3, 4h, 4w) from features (n, t, c, h, w) and LQ frames (n, t, 3, h, w).

        The network's output is added to the bilinearly enlarged LQ frames, as in the released code.
        """
        enlarged = F.interpolate(clip.flatten(0, 1), scale_factor=SCALE, mode="bilinear", align_corners=False)
        base: Tensor = enlarged.unflatten(0, clip.shape[:2])
        return per_frame(self.reconstruction, features) + base

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts in place, as `nn.Module.compile` does; equal blocks are compiled once."""
        for part in (self.extraction, self.spynet, *self.blocks, self.reconstruction):
            if part is not None:
                part.compile(*args, **kwargs)

    def set_layout(self, precision: str) -> None:
        """Lay out weights, and with them features, as a GPU's convolutions are fastest in a precision.

        That is channels last for products on tensor cores, but channels first for float32, where a training
        step of the published network took 1.6 times as long with the channels last (`results/bench_gpu.csv`).
        SPyNet's stay as they are: its images have three channels, first in memory.
        """
        layout = torch.contiguous_format if precision == "float32" else torch.channels_last
        for part in (self.extraction, *self.blocks, self.reconstruction):
            part.to(memory_format=layout)

    def _check(self, clip: Tensor) -> None:
        t, (h, w) = clip.shape[1], clip.shape[-2:]
        config = self.config
        if t > config.num_frames:
            raise ValueError(f"expected at most {config.num_frames} frames (model.num_frames), got {t}")
        if h % config.patch_size or w % config.patch_size:
            raise ValueError(
                f"frames of {h} x {w} cannot be divided into patches of model.patch_size {config.patch_size}"
            )
        size = config.feat_size
        if config.fixed_size and (h, w) != (size, size):
            raise ValueError(f"{config.fixed_size} (model.feat_size), got {h} x {w}")


def _norm(config: ModelConfig) -> FrameNorm:
    edge = {"spatial_affine": config.feat_size, "channel": 1}[config.norm]
    return FrameNorm((config.num_feat, edge, edge))
