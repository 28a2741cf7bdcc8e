"""Positional encodings, added once to the features (n, t, c, h, w) before the first block.

Both fixed codes are one and the same encoder of three axes, `sinusoidal_code`, given different axes:

* `as_released` follows the released code (commit 8770126), which hands (t, c, h, w) to an encoder that takes
  its first axis for the channels. So the *frame indices* play the channels, and (channel, row, column) are
  the three positions: with 5 frames, frames 0 and 1 carry the sine and cosine of the channel's index, frames
  2 and 3 those of the row, frame 4 the sine of the column; with 7 frames the column never enters. The
  released weights need it.
* `sinusoidal_3d` is what the paper describes: a third of the channels each for frame, row and column, sines
  in the even channels and cosines in the odd ones.
"""

import torch
from torch import Tensor, nn

from models.config import ModelConfig


def frequencies(num_channels: int) -> Tensor:
    """10000^(-2k/m), k < m/2, for the m = 2 ceil(num_channels / 6) channels that each of three axes gets."""
    pairs = -(-num_channels // 6)
    return 10000.0 ** (-torch.arange(pairs) / pairs)


def sinusoidal_code(freqs: Tensor, sizes: tuple[int, int, int], interleaved: bool) -> Tensor:
    """The code (3m, *sizes) of three axes, m = 2 len(freqs) channels for each: its sines and cosines.

    `interleaved` puts sine and cosine of one frequency side by side; otherwise all sines come first. The
    `positional-encodings` package changed from the second to the first in version 5.1.0, after the release.
    """
    codes = []
    for axis, size in enumerate(sizes):
        angles = freqs[:, None] * torch.arange(size, device=freqs.device)
        pair = torch.stack([angles.sin(), angles.cos()], dim=1 if interleaved else 0).flatten(0, 1)
        shape = [len(pair), 1, 1, 1]
        shape[1 + axis] = size
        codes.append(pair.view(shape).expand(-1, *sizes))
    return torch.cat(codes)


class ReleasedEncoding(nn.Module):
    """The released network's code, its axes mixed up (see above). Checkpoints store the frequencies."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.register_buffer("frequencies", frequencies(config.num_frames))

    def forward(self, x: Tensor) -> Tensor:
        code = sinusoidal_code(self.frequencies, tuple(x.shape[2:]), interleaved=False)
        return x + code[: x.shape[1]]


class DescribedEncoding(nn.Module):
    """The code over frame, row and column that the paper describes. It fits every size."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.register_buffer("frequencies", frequencies(config.num_feat), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, t, c, h, w = x.shape
        return x + sinusoidal_code(self.frequencies, (t, h, w), interleaved=True)[:c].transpose(0, 1)


class LearnedEncoding(nn.Module):
    """A free value for every frame, channel and pixel, which fixes the frame's size."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.feat_size
        self.code = nn.Parameter(0.02 * torch.randn(config.num_frames, config.num_feat, size, size))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.code[: x.shape[1]]


class NoEncoding(nn.Identity):
    """The features as they are."""

    def __init__(self, config: ModelConfig):
        super().__init__()


POSITIONAL_ENCODINGS = {
    "none": NoEncoding,
    "as_released": ReleasedEncoding,
    "sinusoidal_3d": DescribedEncoding,
    "learned": LearnedEncoding,
}
