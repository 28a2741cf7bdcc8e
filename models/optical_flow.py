"""Optical flow: SPyNet (Ranjan and Black, CVPR 2017) as in the released code, and backward warping.

A flow (n, 2, h, w) is in pixels, channel 0 to the right and channel 1 down: supp(q + flow(q)) ~ ref(q).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parameter_count import SPYNET_LEVELS


def warp(x: Tensor, flow: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Warp float x (n, c, h, w) by a flow (n, 2, h, w) in pixels, horizontal before vertical.

    The result at a position is x, interpolated bilinearly, at that position plus the flow. Samples outside
    the image are zero, or with `padding_mode` "border" the nearest pixel.
    """
    h, w = x.shape[-2:]
    columns = torch.arange(w, device=flow.device) + flow[:, 0]
    rows = torch.arange(h, device=flow.device).view(-1, 1) + flow[:, 1]
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        return sample_pixels(x, columns, rows, padding_mode)
    # With align_corners, grid_sample has the centres of the first and last pixel at -1 and 1.
    grid = torch.stack([2 * columns / max(w - 1, 1) - 1, 2 * rows / max(h - 1, 1) - 1], dim=-1)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode=padding_mode, align_corners=True)


def sample_pixels(x: Tensor, columns: Tensor, rows: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Interpolate x (n, c, h, w) bilinearly at columns and rows (n, h, w) in pixels, as `warp` does.

    Each result is gathered from four pixels. On a GPU, the gradients of a gather can be summed in a fixed
    order, where those of `grid_sample` are added by atomic operations in any order.
    """
    n, c, h, w = x.shape
    if padding_mode == "border":
        columns, rows = columns.clamp(0, w - 1), rows.clamp(0, h - 1)
    left, top = columns.floor(), rows.floor()
    pixels = x.movedim(1, -1).flatten(0, 2)
    first = torch.arange(n, device=x.device).view(-1, 1, 1) * (h * w)  # pixel of each image
    result = x.new_zeros(n * h * w, c)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        weight = (1 - (columns - column).abs()) * (1 - (rows - row).abs()) * inside
        index = first + row.clamp(0, h - 1).long() * w + column.clamp(0, w - 1).long()
        result = result + pixels.index_select(0, index.flatten()) * weight.to(x.dtype).view(-1, 1)
    return result.view(n, h, w, c).movedim(-1, 1)


class SPyNet(nn.Module):
    """A pyramid of six small networks, each of which refines the flow of the next coarser level.

    `num_feat` is the width of a level's widest layer, 64 as published (8, 32, 64, 32, 16, 2 channels).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_feat: int = 64):
        super().__init__()
        self.num_feat = num_feat
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.levels = nn.ModuleList(_Level(num_feat) for _ in range(SPYNET_LEVELS))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Estimate the flow (n, 2, h, w) in pixels from `ref` to `supp`, both (n, 3, h, w) RGB in [0, 1].

        Any size is accepted: images are resized to multiples of 32 and the flow is resized back.
        """
        h, w = ref.shape[-2:]
        height, width = (-(-size // 32) * 32 for size in (h, w))
        flow = self.coarse_to_fine(*(_resize(image, (height, width)) for image in (ref, supp)))[-1]
        right, down = _resize(flow, (h, w)).unbind(1)
        return torch.stack([right * (w / width), down * (h / height)], dim=1)

    def coarse_to_fine(self, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """Estimate the flow at every level, in that level's pixels, from 1/32 of the size to full size.

        `ref` and `supp` are (n, 3, h, w) RGB in [0, 1]; h and w must be multiples of 32.
        """
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
        """Normalise the image and return it at 1/32, 1/16, ... 1/1 of its size."""
        images = [(image - self.mean) / self.std]
        for _ in range(SPYNET_LEVELS - 1):
            images.append(F.avg_pool2d(images[-1], 2))
        return images[::-1]


class _Level(nn.ModuleList):
    """Five convolutions from reference, warped support and flow (8 channels) to a correction of the flow."""

    def __init__(self, num_feat: int):
        widths = [8, num_feat // 2, num_feat, num_feat // 2, num_feat // 4, 2]
        convs = [
            nn.Conv2d(in_channels, out_channels, 7, padding=3)
            for in_channels, out_channels in zip(widths[:-1], widths[1:], strict=True)
        ]
        super().__init__(convs)
        for conv in convs:
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self
        for conv in hidden:
            x = F.relu(conv(x), inplace=True)
        flow: Tensor = last(x)
        return flow


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
