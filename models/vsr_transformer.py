"""The Video Super-Resolution Transformer (Cao et al., arXiv 2106.06847), exactly as its code was released.

Clips are (n, t, 3, h, w), RGB in [0, 1]; features (n, t, c, h, w), in memory with the channels last.
Of `output_indices`, frames of the window by their index, only those frames are computed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import ATTENTIONS
from models.blocks import FrameNorm, Reconstruction, ResidualBlocks, ResidualStack, per_frame
from models.config import ModelConfig
from models.feed_forward import FEED_FORWARDS, Flows
from models.optical_flow import SPyNet
from models.positional_encoding import POSITIONAL_ENCODINGS

SCALE = 4


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each after a norm (pre-norm) and inside a residual.

    The attention's normalised input is added to its output as well, as in the released code. Without
    attention that half of the block, its norm included, is left out.
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
        """Features (n, len(output_indices), c, h, w), computing nothing that they do not need."""
        last = x.shape[1] - 1
        before = [max(index - 1, 0) for index in output_indices]
        after = [min(index + 1, last) for index in output_indices]
        read = sorted({*before, *output_indices, *after})
        x = self.attend(x, read)
        z = per_frame(self.norm2, x)
        before, output, after = (
            [read.index(index) for index in indices] for indices in (before, output_indices, after)
        )
        if flows is not None:
            flows = flows[0][:, output_indices], flows[1][:, output_indices]
        update = self.feed_forward(z[:, before], z[:, output], z[:, after], clip[:, output_indices], flows)
        return x[:, output] + update

    def attend(self, x: Tensor, frame_indices: Sequence[int]) -> Tensor:
        if self.attention is None:
            return x[:, frame_indices]
        y = per_frame(self.norm1, x)
        return x[:, frame_indices] + (y[:, frame_indices] + self.attention(y, frame_indices))


class VSRTransformer(nn.Module):
    """The full network and, by the names in its configuration, every ablation of it."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self._activation_checkpointing = False
        self.extraction = ResidualStack(3, config.num_feat, config.num_extract_blocks)
        self.spynet = SPyNet(config.flow_num_feat) if config.flow_source == "spynet" else None
        self.positional_encoding = POSITIONAL_ENCODINGS[config.positional_encoding](config)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.reconstruction = Reconstruction(config.num_feat, config.num_reconstruct_blocks)

    def forward(self, clip: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore every frame of a clip (n, t, 3, h, w), giving (n, t, 3, 4h, 4w), not clamped.

        `flows` (flows_forward, flows_backward), each (n, t, 2, h, w), pull the frame before and the frame
        after onto each frame; they are wanted where `config.flow` is oracle, and unused where the feed-
        forward has no flow. Otherwise the network computes its own.
        """
        self._check(clip)
        features = self.extract(clip)
        flows = self.flows(clip, flows)
        features = self.transform(features, clip, flows)
        return self.reconstruct(features, clip)

    def extract(self, clip: Tensor) -> Tensor:
        """Features of each frame alone."""
        return per_frame(self.extraction, clip)

    def flows(self, clip: Tensor, flows: Flows | None = None) -> Flows | None:
        """The flows that the blocks use, each (n, t, 2, h, w); at the ends, of a frame to itself."""
        if self.config.flow_source is None:
            return None
        if self.spynet is None:
            if flows is None:
                raise ValueError("model.flow is oracle, so the flows must be given with the clip")
            return flows
        before = torch.cat([clip[:, :1], clip[:, :-1]], dim=1)
        after = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1)
        ref, supp = torch.cat([clip, clip]), torch.cat([before, after])
        return self.spynet(ref.flatten(0, 1), supp.flatten(0, 1)).unflatten(0, ref.shape[:2]).chunk(2)

    def transform(
        self,
        features: Tensor,
        clip: Tensor,
        flows: Flows | None,
        output_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Add the positional encoding and apply the blocks; the last gives `output_indices` (all)."""
        every = list(range(features.shape[1]))
        x = self.positional_encoding(features.to(clip.dtype))  # autocast must not narrow the residual path
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, clip, flows, every)
        return last(x, clip, flows, every if output_indices is None else output_indices)

    def reconstruct(self, features: Tensor, clip: Tensor) -> Tensor:
        """Frames (n, t, 3, 4h, 4w) from their features and low-quality frames (n, t, 3, h, w)."""
        enlarged = F.interpolate(clip.flatten(0, 1), scale_factor=SCALE, mode="bilinear", align_corners=False)
        return per_frame(self.reconstruction, features) + enlarged.unflatten(0, clip.shape[:2])

    @property
    def activation_checkpointing(self) -> bool:
        """Whether the backward pass computes the residual blocks again, to hold less in memory."""
        return self._activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, value: bool) -> None:
        self._activation_checkpointing = value
        for module in self.modules():
            if isinstance(module, ResidualBlocks):
                module.activation_checkpointing = value

    def _check(self, clip: Tensor) -> None:
        t, (h, w) = clip.shape[1], clip.shape[-2:]
        config = self.config
        if t > config.num_frames:
            raise ValueError(f"a window of {t} frames, but model.num_frames is {config.num_frames}")
        if h % config.patch_size or w % config.patch_size:
            raise ValueError(
                f"frames of {h} x {w} cannot be cut into patches of model.patch_size {config.patch_size}"
            )
        size = config.feat_size
        if config.fixed_size and (h, w) != (size, size):
            raise ValueError(f"frames of {h} x {w}, but {config.fixed_size} (model.feat_size)")


def _norm(config: ModelConfig) -> FrameNorm:
    edge = {"spatial_affine": config.feat_size, "channel": 1}[config.norm]
    return FrameNorm((config.num_feat, edge, edge))
