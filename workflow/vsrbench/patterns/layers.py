"""The layers that are compared, each with a linear read-out: n bits (b, n) of -1 and 1 to a value (b,).

`convolutional` and `fully_connected` are the theorem's: h(x) = sum over tokens j of <u_j, v_j(x)>, where v
comes from one local filter for all places, or from dense maps of the whole input. They have the same number
of parameters, 64 (n + 2) + 1. `stcsa` and `fcsa` are the attention modules of the suite.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import ATTENTIONS
from models.config import ModelConfig

CHANNELS = 64  # of the convolution; and hidden units of the dense layer, which makes their sizes equal
WIDE = 1024


class ConvolutionalLayer(nn.Module):
    """A filter of k bits with 64 channels for all places; the read-out weighs each place and channel."""

    def __init__(self, n: int, k: int):
        super().__init__()
        self.k = k
        self.hidden = nn.Linear(k, CHANNELS)  # at every place: a convolution, which is slower on a CPU
        self.readout = nn.Linear(CHANNELS * (n - k + 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, n) to (b,)."""
        value: Tensor = self.readout(F.relu(self.hidden(x.unfold(1, self.k, 1))).flatten(1)).squeeze(1)
        return value


class FullyConnectedLayer(nn.Module):
    """A dense layer of `width` hidden units on the whole input."""

    def __init__(self, n: int, width: int):
        super().__init__()
        self.hidden = nn.Linear(n, width)
        self.readout = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, n) to (b,)."""
        value: Tensor = self.readout(F.relu(self.hidden(x))).squeeze(1)
        return value


class AttentionLayer(nn.Module):
    """Attention as in a block of the suite's network, on bits that are laid out as a strip two pixels high.

    Neighbouring bits are neighbouring pixels: bits 2c and 2c + 1 are column c. Patches of 2 x 2 pixels are
    tokens, so that a pattern may lie across two or more, as in pictures. A 1 x 1 convolution makes 16
    channels of a bit, every value has a learned positional code, and the input of the attention is added to
    its output. The two are not of matched size: fcsa's projections have 16,384 weights, stcsa's 4,960.
    """

    def __init__(self, n: int, attention: str):
        super().__init__()
        channels = 16
        self.size = 2, n // 2
        config = ModelConfig(num_frames=1, num_feat=channels, patch_size=2, attention=attention)
        self.lift = nn.Conv2d(1, channels, 1)
        self.code = nn.Parameter(0.02 * torch.randn(channels, *self.size))
        self.attention = ATTENTIONS[attention](config)
        self.readout = nn.Linear(channels * n, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, n) to (b,)."""
        strip = x.unflatten(1, self.size[::-1]).mT.unsqueeze(1)
        features = (self.lift(strip) + self.code).unsqueeze(1)
        attended = features + self.attention(features, [0])
        value: Tensor = self.readout(F.relu(attended).flatten(1)).squeeze(1)
        return value


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "convolutional": ConvolutionalLayer,
    "fully_connected": lambda n, k: FullyConnectedLayer(n, CHANNELS),
    "fully_connected_wide": lambda n, k: FullyConnectedLayer(n, WIDE),
    "stcsa": lambda n, k: AttentionLayer(n, "stcsa"),
    "fcsa": lambda n, k: AttentionLayer(n, "fcsa"),
}
