"""A network of a few channels with every part of the full one."""

import torch

from models import ModelConfig, build_model

SIZES = dict(
    num_feat=8,
    feat_size=16,
    patch_size=4,
    depth=2,
    num_extract_blocks=1,
    num_reconstruct_blocks=1,
    num_feed_forward_blocks=1,
    flow_num_feat=8,
)


def small_network(**options):
    """The network of `SIZES` and `options`, with the same weights at each call."""
    torch.manual_seed(0)
    return build_model(ModelConfig(**SIZES | options))
