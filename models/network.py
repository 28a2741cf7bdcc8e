"""What every network under study has in common."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from models.blocks import ResidualBlocks
from models.config import NetworkConfig
from models.feed_forward import Flows
from models.optical_flow import SPyNet


class Network(nn.Module):
    """A network that maps clips (n, t, 3, h, w), RGB in [0, 1], to clips (n, t, 3, 4h, 4w).

    Its `config` states how it is trained and run; see `models.config.NetworkConfig`. `spynet` is the part of
    it that estimates optical flow, which studies train beforehand; None if it has none.
    """

    config: NetworkConfig
    spynet: SPyNet | None

    def __init__(self) -> None:
        super().__init__()
        self._activation_checkpointing = False

    def forward(self, clip: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore every frame of a clip; the result is not clamped.

        `flows` are exact flows, which only networks whose `config.flow_source` is "oracle" use.
        """
        raise NotImplementedError

    def set_layout(self, precision: str) -> None:
        """Lay out weights as a GPU's convolutions are fastest in a precision; by default as they are."""

    def check(self) -> None:
        """Raise ValueError, in one line, where the network does not do what is stated above."""

    @property
    def activation_checkpointing(self) -> bool:
        """Whether the backward pass recomputes the activations of the residual blocks, to save memory."""
        return self._activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, value: bool) -> None:
        self._activation_checkpointing = value
        for module in self.modules():
            if isinstance(module, ResidualBlocks):
                module.activation_checkpointing = value


class SharingNetwork(Network):
    """A network for windows of which neighbouring windows share parts: first features, and flows of pairs."""

    def extract(self, clip: Tensor) -> Tensor:
        """Extract the features (n, t, c, h, w) of each frame of a clip (n, t, 3, h, w) independently."""
        raise NotImplementedError

    def transform(
        self,
        features: Tensor,
        clip: Tensor,
        flows: Flows | None,
        output_indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Map the features of a window to those of its frames `output_indices`, by default all."""
        raise NotImplementedError

    def reconstruct(self, features: Tensor, clip: Tensor) -> Tensor:
        """Reconstruct frames (n, t, 3, 4h, 4w) from features (n, t, c, h, w) and the LQ frames."""
        raise NotImplementedError


class ClipNetwork(Network):
    """A network whose result for a frame depends on the whole clip (`config.protocol` "clip")."""

    def restore(self, read: Callable[[int], Tensor], num_frames: int) -> Iterator[Tensor]:
        """Restore a clip frame by frame: `read` gives frame t (n, 3, h, w); yields (n, 3, 4h, 4w) in order.

        The same function as `forward`, in less memory.
        """
        raise NotImplementedError
