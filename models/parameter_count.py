"""Parameters of the layers that networks are built of; plain numbers without torch, as `models.config`."""

from itertools import pairwise

SPYNET_LEVELS = 6


def convolution(in_channels: int, out_channels: int, kernel: int = 3) -> int:
    """Count the weights and biases of a `kernel` x `kernel` convolution."""
    return kernel**2 * in_channels * out_channels + out_channels


def residual_blocks(num_feat: int, num_blocks: int) -> int:
    """Count two 3 x 3 convolutions a block."""
    return 2 * num_blocks * convolution(num_feat, num_feat)


def residual_stacks(num_feat: int, width: int, num_blocks: int) -> int:
    """Count two stacks of `width` channels on features and a frame, and the convolution that fuses them."""
    stack = convolution(num_feat + 3, width) + residual_blocks(width, num_blocks)
    return 2 * stack + convolution(2 * width, num_feat, kernel=1)


def spynet(num_feat: int) -> int:
    """Count SPyNet: at each level five 7 x 7 convolutions, the widest of `num_feat` channels."""
    widths = [8, num_feat // 2, num_feat, num_feat // 2, num_feat // 4, 2]
    return SPYNET_LEVELS * sum(convolution(*pair, kernel=7) for pair in pairwise(widths))


def reconstruction(num_feat: int, num_blocks: int, num_full_size_feat: int) -> int:
    """Count residual blocks, two upsampling layers and two at full size."""
    upsampling = convolution(num_feat, 4 * num_feat) + convolution(num_feat, 4 * num_full_size_feat)
    full_size = convolution(num_full_size_feat, num_full_size_feat) + convolution(num_full_size_feat, 3)
    return residual_blocks(num_feat, num_blocks) + upsampling + full_size
