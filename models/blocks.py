"""Building blocks of the networks. Clips are (n, t, c, h, w), single frames (n, c, h, w), float."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SLOPE = 0.1  # negative slope of every leaky ReLU


def conv3x3(in_channels: int, out_channels: int, groups: int = 1) -> nn.Conv2d:
    """Build a 3 x 3 convolution with zero padding of one pixel, which keeps the spatial size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=groups)


def per_frame(module: nn.Module, clip: Tensor) -> Tensor:
    """Apply a module on (n, c, h, w) to each frame of a clip (n, t, c, h, w)."""
    frames: Tensor = module(merge_frames(clip)).unflatten(0, clip.shape[:2])
    return frames


def merge_frames(clip: Tensor) -> Tensor:
    """Reshape a clip (n, t, c, h, w) to frames (n t, c, h, w); where that copies, channels come last."""
    return clip.movedim(2, -1).flatten(0, 1).movedim(-1, 1)


def select_frames(clip: Tensor, indices: Sequence[int]) -> Tensor:
    """Return `clip[:, indices]` of a clip (n, t, c, h, w), channels last in memory if the clip is.

    Ascending indices are taken as slices: an index list would be copied to the GPU at each call, and its
    backward pass scatters.
    """
    breaks = [i for i in range(1, len(indices)) if indices[i] != indices[i - 1] + 1]
    runs = zip([0, *breaks], [*breaks, len(indices)], strict=True)
    parts = [clip[:, indices[first] : indices[last - 1] + 1] for first, last in runs]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.movedim(2, -1) for part in parts], dim=1).movedim(-1, 2)


def in_layout_of(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Lay x (n, c, h, w) out in memory so that convolutions, which keep the layout of their input, are fast.

    That is channels last on the CPU, and on a GPU as the weights of `conv` are.
    """
    channels_first = x.is_cuda and conv.weight.is_contiguous()
    return x.contiguous(memory_format=torch.contiguous_format if channels_first else torch.channels_last)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), initialised near the identity: He-normal weights times 0.1, zero biases.

    As BasicSR's `ResidualBlockNoBN`, which the released network uses.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = conv3x3(num_feat, num_feat)
        self.conv2 = conv3x3(num_feat, num_feat)
        for conv in (self.conv1, self.conv2):
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (n, c, h, w) to features of the same shape."""
        residual: Tensor = self.conv2(F.relu(self.conv1(x), inplace=True))
        return residual.add_(x)


class ResidualBlocks(nn.Sequential):
    """A sequence of `num_blocks` residual blocks.

    With `activation_checkpointing`, only the input of every fifth block is kept for the backward pass; the
    activations in between are recomputed.
    """

    def __init__(self, num_feat: int, num_blocks: int):
        super().__init__(*(ResidualBlock(num_feat) for _ in range(num_blocks)))
        self.activation_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Map features (n, c, h, w) to features of the same shape."""
        if not (self.activation_checkpointing and torch.is_grad_enabled()):
            return self._run(x, 0, len(self))
        for first in range(0, len(self), 5):
            x = checkpoint(self._run, x, first, min(first + 5, len(self)), use_reentrant=False)
        return x

    def _run(self, x: Tensor, first: int, last: int) -> Tensor:
        for index in range(first, last):
            x = self[index](x)
        return x


class ResidualStack(nn.Module):
    """A convolution to `num_feat` channels, a leaky ReLU, then residual blocks; keeps the spatial size."""

    def __init__(self, in_channels: int, num_feat: int, num_blocks: int):
        super().__init__()
        self.head = conv3x3(in_channels, num_feat)
        self.blocks = ResidualBlocks(num_feat, num_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to features (n, num_feat, h, w)."""
        x = in_layout_of(self.head, x)
        features: Tensor = self.blocks(F.leaky_relu(self.head(x), SLOPE, inplace=True))
        return features


class FrameNorm(nn.Module):
    """Normalise each frame over all of its (c, h, w) values, then apply an affine map.

    The variance is the biased one, eps 1e-5. `affine_shape` is (c, h, w), one weight and bias per value as
    in the released code, which acts as a learned positional encoding and fixes the frame size; or (c, 1, 1),
    one pair per channel.
    """

    def __init__(self, affine_shape: tuple[int, int, int]):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(affine_shape))
        self.bias = nn.Parameter(torch.zeros(affine_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise features (n, c, h, w)."""
        # The result takes the bias's memory format: channels last, which the next convolutions expect.
        weight, bias = (part.movedim(0, -1).contiguous().movedim(-1, 0) for part in (self.weight, self.bias))
        return torch.addcmul(bias, F.group_norm(x, 1, eps=1e-5), weight)


class Reconstruction(nn.Module):
    """Residual blocks, then two upsampling steps by 2 (convolution and pixel shuffle).

    At full size there are `num_feat` channels, or `num_full_size_feat`.
    """

    def __init__(self, num_feat: int, num_blocks: int, num_full_size_feat: int | None = None):
        super().__init__()
        last = num_full_size_feat or num_feat
        self.blocks = ResidualBlocks(num_feat, num_blocks)
        self.upsample1 = conv3x3(num_feat, 4 * num_feat)
        self.upsample2 = conv3x3(num_feat, 4 * last)
        self.refine = conv3x3(last, last)
        self.to_rgb = conv3x3(last, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (n, c, h, w) to the residual (n, 3, 4h, 4w) that is added to the enlarged input."""
        x = self.blocks(in_layout_of(self.upsample1, x))
        for upsample in (self.upsample1, self.upsample2):
            x = F.leaky_relu(F.pixel_shuffle(upsample(x), 2), SLOPE, inplace=True)
        residual: Tensor = self.to_rgb(F.leaky_relu(self.refine(x), SLOPE, inplace=True))
        return residual
