"""Optical flow: SPyNet (Ranjan and Black, CVPR 2017) as the released code runs it, and the warp along a flow.

A flow (n, 2, h, w) is in pixels, channel 0 to the right and channel 1 down: supp(q + flow(q)) ~ ref(q).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_LEVELS = 6


def warp(x: Tensor, flow: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Sample x (n, c, h, w) bilinearly at each pixel's place plus the flow (n, 2, h, w).

    Beyond the edge there are zeros, or with `padding_mode` "border" the nearest pixel.
    """
    h, w = x.shape[-2:]
    columns = torch.arange(w, device=flow.device) + flow[:, 0]
    rows = torch.arange(h, device=flow.device).view(-1, 1) + flow[:, 1]
    # grid_sample takes -1 and 1 for the centres of the first and last pixel
    grid = torch.stack([2 * columns / max(w - 1, 1) - 1, 2 * rows / max(h - 1, 1) - 1], dim=-1)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode=padding_mode, align_corners=True)


class SPyNet(nn.Module):
    """A pyramid of six small networks, each of which corrects the flow of the coarser level.

    `num_feat` is the widest layer of a level, 64 as published: 8 -> 32 -> 64 -> 32 -> 16 -> 2 channels.
    """

    def __init__(self, num_feat: int = 64):
        super().__init__()
        self.num_feat = num_feat
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.levels = nn.ModuleList(_Level(num_feat) for _ in range(NUM_LEVELS))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """The flow (n, 2, h, w) from `ref` to `supp`, both (n, 3, h, w) RGB in [0, 1], of any size."""
        h, w = ref.shape[-2:]
        height, width = (-(-size // 32) * 32 for size in (h, w))
        flow = self.coarse_to_fine(*(_resize(image, (height, width)) for image in (ref, supp)))[-1]
        return _resize(flow, (h, w)) * flow.new_tensor([w / width, h / height]).view(1, 2, 1, 1)

    def coarse_to_fine(self, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """The flow of each level in its own pixels, 1/32 of the size first; sizes must be multiples of 32."""
        h, w = ref.shape[-2:]
        flow, flows = ref.new_zeros(len(ref), 2, h // 32, w // 32), []
        for level, ref_l, supp_l in zip(self.levels, self._pyramid(ref), self._pyramid(supp), strict=True):
            if flow.shape[-2:] != ref_l.shape[-2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            warped = warp(supp_l, flow, padding_mode="border")
            flow = flow + level(torch.cat([ref_l, warped, flow], dim=1))
            flows.append(flow)
        return flows

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """The normalised image at 1/32, 1/16, ... 1/1 of its size."""
        images = [(image - self.mean) / self.std]
        for _ in range(NUM_LEVELS - 1):
            images.append(F.avg_pool2d(images[-1], 2))
        return images[::-1]


class _Level(nn.ModuleList):
    """Five convolutions from reference, warped support and flow, 8 channels, to the flow's correction."""

    def __init__(self, num_feat: int):
        widths = [8, num_feat // 2, num_feat, num_feat // 2, num_feat // 4, 2]
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 7, padding=3)
            for in_channels, out_channels in zip(widths[:-1], widths[1:], strict=True)
        )
        for conv in self:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self
        for conv in hidden:
            x = F.relu(conv(x), inplace=True)
        return last(x)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
