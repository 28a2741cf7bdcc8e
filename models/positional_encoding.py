"""Positional encodings, added once to the features (n, t, c, h, w) before the first block.

Both fixed encodings are the same encoder of three axes, `sinusoidal_encoding`, applied to different axes:

* `as_released` follows the released code (commit 8770126), which passes (t, c, h, w) to an encoder that
  treats its first axis as the channels. So the *frame index* takes the role of the channel, and (channel,
  row, column) are the three positions: with 5 frames, frames 0 and 1 hold the sine and cosine of the channel
  index, frames 2 and 3 those of the row, and frame 4 the sine of the column; with 7 frames the column is
  never encoded. The released weights require this encoding.
* `sinusoidal_3d` is what the paper describes: a third of the channels each for frame, row and column, sines
  in the even channels and cosines in the odd ones.
"""

import torch
from torch import Tensor, nn

from models.config import ModelConfig


def frequencies(num_channels: int) -> Tensor:
    """Compute 10000^(-2k/m), k < m/2, where each of three axes has m = 2 ceil(num_channels / 6) channels.

    As in the `positional-encodings` package, which the released code uses; float32 (m/2,).
    """
    pairs = -(-num_channels // 6)
    return 10000.0 ** (-torch.arange(pairs) / pairs)


def sinusoidal_encoding(freqs: Tensor, sizes: tuple[int, int, int], interleaved: bool) -> Tensor:
    """Encode three axes by sines and cosines in [-1, 1]: (3m, *sizes), m = 2 len(freqs) channels per axis.

    With `interleaved`, the sine and cosine of one frequency are adjacent; otherwise all sines come first. The
    `positional-encodings` package changed from the latter to the former in version 5.1.0, after the release.
    """
    encodings = []
    for axis, size in enumerate(sizes):
        angles = freqs[:, None] * torch.arange(size, device=freqs.device)
        pair = torch.stack([angles.sin(), angles.cos()], dim=1 if interleaved else 0).flatten(0, 1)
        shape = [len(pair), 1, 1, 1]
        shape[1 + axis] = size
        encodings.append(pair.view(shape).expand(-1, *sizes))
    return torch.cat(encodings)


class ReleasedEncoding(nn.Module):
    """The encoding of the released network, with its axes swapped; checkpoints store the frequencies."""

    frequencies: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.register_buffer("frequencies", frequencies(config.num_frames))

    def forward(self, x: Tensor) -> Tensor:
        """Add the encoding to features (n, t, c, h, w)."""
        _, t, c, h, w = x.shape
        return x + sinusoidal_encoding(self.frequencies, (c, h, w), interleaved=False)[:t]


class DescribedEncoding(nn.Module):
    """The encoding of frame, row and column that the paper describes; it accepts frames of any size."""

    frequencies: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.register_buffer("frequencies", frequencies(config.num_feat), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the encoding to features (n, t, c, h, w)."""
        _, t, c, h, w = x.shape
        return x + sinusoidal_encoding(self.frequencies, (t, h, w), interleaved=True)[:c].transpose(0, 1)


class LearnedEncoding(nn.Module):
    """A learned value for every frame, channel and pixel, which fixes the frame size."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.feat_size
        self.code = nn.Parameter(0.02 * torch.randn(config.num_frames, config.num_feat, size, size))

    def forward(self, x: Tensor) -> Tensor:
        """Add the encoding to features (n, t, c, h, w)."""
        return x + self.code[: x.shape[1]]


class NoEncoding(nn.Identity):
    """No encoding: the features are returned unchanged."""

    def __init__(self, config: ModelConfig):
        super().__init__()


POSITIONAL_ENCODINGS = {
    "none": NoEncoding,
    "as_released": ReleasedEncoding,
    "sinusoidal_3d": DescribedEncoding,
    "learned": LearnedEncoding,
}
