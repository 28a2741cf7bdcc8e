"""The block's second half: what happens to a frame's features after attention (paper, section 4.3).

Each feed-forward takes the normalised features of the output frames and of their neighbours before and
after, and gives what the block adds, all of them (n, k, c, h, w). `lq` are the low-quality output frames
(n, k, 3, h, w), and `flows` their two flows (n, k, 2, h, w), the first pulling the frame before onto each
frame and the second the frame after. At the ends of a window the missing neighbour is the frame itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import cut_patches, join_patches
from models.blocks import SLOPE, ResidualStack
from models.config import ModelConfig
from models.optical_flow import warp

Flows = tuple[Tensor, Tensor]


class UnalignedFeedForward(nn.Module):
    """Two residual stacks, one for each neighbour beside the low-quality frame, and a 1 x 1 fusion of both.

    A frame's own features take part only at the ends of the window; they pass by in the block's residual.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        c, blocks = config.num_feat, config.num_feed_forward_blocks
        self.backward_stack = ResidualStack(c + 3, c, blocks)
        self.forward_stack = ResidualStack(c + 3, c, blocks)
        self.fusion = nn.Conv2d(2 * c, c, 1)

    def forward(
        self, before: Tensor, output: Tensor, after: Tensor, lq: Tensor, flows: Flows | None
    ) -> Tensor:
        flows_forward, flows_backward = flows or (None, None)
        backward = self._restore(self.backward_stack, lq, after, flows_backward)
        forward = self._restore(self.forward_stack, lq, before, flows_forward)
        fused = self.fusion(torch.cat([backward, forward], dim=1))
        return F.leaky_relu(fused, SLOPE, inplace=True).unflatten(0, output.shape[:2])

    def _restore(self, stack: nn.Module, lq: Tensor, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        return stack(torch.cat([lq.flatten(0, 1), self._align(neighbours, flows)], dim=1))

    def _align(self, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        return neighbours.flatten(0, 1)


class FlowAlignedFeedForward(UnalignedFeedForward):
    """The same layers, with each neighbour warped onto the frame along its flow, zeros beyond the edge."""

    def _align(self, neighbours: Tensor, flows: Tensor | None) -> Tensor:
        return warp(neighbours.flatten(0, 1), flows.flatten(0, 1))


class TokenWiseFeedForward(nn.Module):
    """The feed-forward of ViT: W2 relu(W1 x + b1) + b2 for each token of D = c p^2 values, D wide inside.

    No token sees another, so there is no exchange between patches or frames, and no flow.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.num_feat * config.patch_size**2
        self.patch_size = config.patch_size
        self.layers = nn.Sequential(nn.Linear(d, d), nn.ReLU(inplace=True), nn.Linear(d, d))

    def forward(
        self, before: Tensor, output: Tensor, after: Tensor, lq: Tensor, flows: Flows | None
    ) -> Tensor:
        tokens = cut_patches(output, self.patch_size, 1)
        return join_patches(self.layers(tokens), output.shape[-2:], self.patch_size)


FEED_FORWARDS = {
    "flow_aligned": FlowAlignedFeedForward,
    "unaligned": UnalignedFeedForward,
    "token_wise": TokenWiseFeedForward,
}
