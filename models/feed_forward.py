"""The feed-forward half of a transformer block (paper, section 4.3).

Each feed-forward layer maps the normalised features of the k output frames, and of the frames `before` and
`after` each of them, to the update that the block adds; all are (n, k, c, h, w). `lq` holds the low-quality
output frames (n, k, 3, h, w), RGB in [0, 1]. `flows` is (flows_forward, flows_backward), each (n, k, 2, h, w)
in LQ pixels: they warp the previous and the next frame onto each output frame. At the ends of a window the
missing neighbour is the frame itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import cut_patches, join_patches
from models.blocks import SLOPE, ResidualStack, merge_frames
from models.config import ModelConfig
from models.matched_size import feed_forward_width
from models.optical_flow import warp

Flows = tuple[Tensor, Tensor]


class UnalignedFeedForward(nn.Module):
    """Two residual stacks, one per neighbour, whose outputs are fused by a 1 x 1 convolution.

    The input of a stack is the low-quality frame and the features of one neighbour, concatenated. A frame's
    own features enter only at the ends of the window; otherwise only the residual connection passes them on.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        c, width, blocks = config.num_feat, feed_forward_width(config), config.num_feed_forward_blocks
        self.backward_stack = ResidualStack(c + 3, width, blocks)
        self.forward_stack = ResidualStack(c + 3, width, blocks)
        self.fusion = nn.Conv2d(2 * width, c, 1)

    def forward(
        self, before: Tensor, output: Tensor, after: Tensor, lq: Tensor, flows: Flows | None
    ) -> Tensor:
        """Compute the update (n, k, c, h, w); for arguments see the module. Flows are ignored."""
        flows_forward, flows_backward = flows or (None, None)
        backward = self._restore(self.backward_stack, lq, after, flows_backward)
        forward = self._restore(self.forward_stack, lq, before, flows_forward)
        fused = self.fusion(torch.cat([backward, forward], dim=1))
        update: Tensor = F.leaky_relu(fused, SLOPE, inplace=True).unflatten(0, output.shape[:2])
        return update

    def _restore(self, stack: nn.Module, lq: Tensor, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        restored: Tensor = stack(torch.cat([merge_frames(lq), self._align(neighbours, flows)], dim=1))
        return restored

    def _align(self, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        return merge_frames(neighbours)


class FlowAlignedFeedForward(UnalignedFeedForward):
    """The same layers on neighbours that are warped onto the frame along the flow, with zero padding."""

    def _align(self, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        assert flows is not None
        return warp(merge_frames(neighbours), flows.flatten(0, 1))


class TokenWiseFeedForward(nn.Module):
    """ViT's feed-forward: W2 relu(W1 x + b1) + b2 on each token of D = c p^2 values, with D hidden units.

    Tokens are processed independently: no information passes between patches or frames, and no flow is used.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, width = config.num_feat * config.patch_size**2, feed_forward_width(config)
        self.patch_size = config.patch_size
        self.layers = nn.Sequential(nn.Linear(d, width), nn.ReLU(inplace=True), nn.Linear(width, d))

    def forward(
        self, before: Tensor, output: Tensor, after: Tensor, lq: Tensor, flows: Flows | None
    ) -> Tensor:
        """Compute the update (n, k, c, h, w) from `output` alone; for arguments see the module."""
        tokens = cut_patches(output, self.patch_size, 1)
        return join_patches(self.layers(tokens), output.shape[-2:], self.patch_size)


FEED_FORWARDS = {
    "flow_aligned": FlowAlignedFeedForward,
    "unaligned": UnalignedFeedForward,
    "token_wise": TokenWiseFeedForward,
}
