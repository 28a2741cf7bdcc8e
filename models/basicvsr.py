"""BasicVSR (Chan et al., CVPR 2021, arXiv 2012.02181), exactly as BasicSR and MMagic released it.

A recurrent network: features travel through the whole clip, once backward and once forward in time, and are
warped onto each frame on the way. Clips are (n, t, 3, h, w), RGB in [0, 1].
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import SLOPE, Reconstruction, ResidualStack
from models.config import BasicVSRConfig
from models.feed_forward import Flows
from models.network import ClipNetwork
from models.optical_flow import SPyNet, warp
from models.vsr_transformer import SCALE

_FULL_SIZE_FEAT = 64  # channels at four times the size, whatever num_feat is


class BasicVSR(ClipNetwork):
    """The network; it restores clips of any length and frames of any size."""

    config: BasicVSRConfig
    spynet: SPyNet

    def __init__(self, config: BasicVSRConfig):
        super().__init__()
        self.config = config
        c = config.num_feat
        self.spynet = SPyNet(config.flow_num_feat)
        self.backward_trunk = ResidualStack(3 + c, c, config.num_blocks)
        self.forward_trunk = ResidualStack(3 + c, c, config.num_blocks)
        self.fusion = nn.Conv2d(2 * c, c, 1)
        self.reconstruction = Reconstruction(c, 0, _FULL_SIZE_FEAT)

    def forward(self, clip: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore every frame of a clip (n, t, 3, h, w); returns (n, t, 3, 4h, 4w), float, not clamped.

        `flows` are ignored: the network estimates its own.
        """
        forward, backward = (flows.unbind(1) for flows in self.flows(clip))
        frames = clip.unbind(1)
        restored = self._restore(frames.__getitem__, len(frames), backward.__getitem__, forward.__getitem__)
        return torch.stack(list(restored), dim=1)

    def restore(self, read: Callable[[int], Tensor], num_frames: int) -> Iterator[Tensor]:
        """Restore a clip frame by frame: `read` gives frame t (n, 3, h, w); yields (n, 3, 4h, 4w) in order.

        The same function as `forward`. Of every frame, only its backward features are kept until it is
        restored: n c h w values. `read` is called twice for each frame, and once more for its neighbour.
        """

        def backward(t: int) -> Tensor:
            return self._flow(read(t), read(t + 1))

        def forward(t: int) -> Tensor:
            return self._flow(read(t + 1), read(t))

        return self._restore(read, num_frames, backward, forward)

    def flows(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return (flows_forward, flows_backward), each (n, t - 1, 2, h, w) in pixels of the clip.

        flows_forward[:, i] brings features of frame i onto frame i + 1, flows_backward[:, i] the other way.
        """
        before, after = clip[:, :-1], clip[:, 1:]
        if not before.shape[1]:
            return (clip.new_zeros(len(clip), 0, 2, *clip.shape[-2:]),) * 2
        shape = before.shape[:2]
        before, after = before.flatten(0, 1), after.flatten(0, 1)
        return self._flow(after, before).unflatten(0, shape), self._flow(before, after).unflatten(0, shape)

    def _flow(self, ref: Tensor, supp: Tensor) -> Tensor:
        flow: Tensor = self.spynet(ref, supp)
        return flow

    def _restore(
        self,
        read: Callable[[int], Tensor],
        num_frames: int,
        backward_flow: Callable[[int], Tensor],
        forward_flow: Callable[[int], Tensor],
    ) -> Iterator[Tensor]:
        """Restore the frames in order; `backward_flow` and `forward_flow` give the flows of `flows` at i."""
        kept: list[Tensor | None] = [None] * num_frames
        features = None
        for t in reversed(range(num_frames)):
            flow = backward_flow(t) if features is not None else None
            kept[t] = features = _advance(self.backward_trunk, read(t), features, flow, self.config.num_feat)
        features = None
        for t in range(num_frames):
            flow = forward_flow(t - 1) if features is not None else None
            features = _advance(self.forward_trunk, read(t), features, flow, self.config.num_feat)
            backward, kept[t] = kept[t], None
            assert backward is not None
            yield self._reconstruct(read(t), backward, features)

    def _reconstruct(self, frame: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        fused = F.leaky_relu(self.fusion(torch.cat([backward, forward], dim=1)), SLOPE, inplace=True)
        residual: Tensor = self.reconstruction(fused)
        return residual + F.interpolate(frame, scale_factor=SCALE, mode="bilinear", align_corners=False)


def _advance(
    trunk: ResidualStack, frame: Tensor, features: Tensor | None, flow: Tensor | None, num_feat: int
) -> Tensor:
    """Carry features (n, c, h, w) one frame on, along the flow; at the end of the clip they start at zero."""
    if features is None or flow is None:
        carried = frame.new_zeros(len(frame), num_feat, *frame.shape[-2:])
    else:
        carried = warp(features.to(frame.dtype), flow)  # positions need float32, also under autocast
    advanced: Tensor = trunk(torch.cat([frame, carried], dim=1))
    return advanced
