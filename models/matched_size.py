"""Widths at which a changed layer has as many parameters as the full model's.

A fully connected layer is far larger than the convolutions in its place, and a feed-forward layer without
optical flow lacks SPyNet. With `size: matched` its hidden width makes up for that, so that a difference in
the score is not one of size.
"""

from models.config import ModelConfig
from models.parameter_count import convolution, residual_stacks, spynet


def attention_width(config: ModelConfig) -> int:
    """Width of the queries, keys and values of fully connected attention; a multiple of the heads."""
    token, heads = config.num_feat * config.patch_size**2, config.num_heads
    if config.size == "natural":
        return token
    convolutional = 2 * convolution(1, config.num_feat) + 2 * convolution(config.num_feat, config.num_feat)
    return heads * max(1, round(convolutional / (4 * token) / heads))


def feed_forward_width(config: ModelConfig) -> int:
    """Channels of the residual stacks, or hidden units of a token-wise layer."""
    c, token = config.num_feat, config.num_feat * config.patch_size**2
    if config.size == "natural" or config.feed_forward == "flow_aligned":
        return token if config.feed_forward == "token_wise" else c
    target: float = _stacks(config, c)
    if config.flow == "spynet":  # one for all blocks
        target += spynet(config.flow_num_feat) / config.depth
    if config.feed_forward == "token_wise":
        return max(1, round((target - token) / (2 * token + 1)))
    width = c
    while _stacks(config, width + 1) < target:
        width += 1
    return min(width, width + 1, key=lambda width: abs(_stacks(config, width) - target))


def _stacks(config: ModelConfig, width: int) -> int:
    return residual_stacks(config.num_feat, width, config.num_feed_forward_blocks)
