"""The released network and its test procedure, written out plainly: what the benchmark measures against.

It runs on the weights of a `VSRTransformer` of the released kind and works as the released code (commit
8770126) does: contiguous layout, twelve flow pairs for five frames, all frames reconstructed, every tile.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import ModelConfig
from models.optical_flow import warp
from models.vsr_transformer import VSRTransformer
from vsrbench.evaluation.tiling import centred_window

Part = Any  # a module of the network: to a type checker, what an nn.Module holds is Tensor | Module


def plain_network(model: VSRTransformer, clip: Tensor) -> Tensor:
    """All frames (n, t, 3, 4h, 4w) of a clip (n, t, 3, h, w)."""
    n, t = clip.shape[:2]
    flows = _flows(model.spynet, clip)
    x = _stack(model.extraction, clip.flatten(0, 1)).unflatten(0, (n, t))
    x = model.positional_encoding(x)
    block: Part
    for block in model.blocks:
        y = _norm(block.norm1, x)
        x = x + (y + _attention(block.attention, y))
        x = x + _feed_forward(block.feed_forward, _norm(block.norm2, x), clip, *flows)
    part = model.reconstruction
    x = _residual(part.blocks, x.flatten(0, 1))
    x = F.leaky_relu(F.pixel_shuffle(part.upsample1(x), 2), 0.1)
    x = F.leaky_relu(F.pixel_shuffle(part.upsample2(x), 2), 0.1)
    x = part.to_rgb(F.leaky_relu(part.refine(x), 0.1))
    base = F.interpolate(clip.flatten(0, 1), scale_factor=4, mode="bilinear", align_corners=False)
    return (x + base).unflatten(0, (n, t))


def plain_tiled(
    network: Callable[[Tensor], Tensor], config: ModelConfig, lq: np.ndarray, centre: int, device: str = "cpu"
) -> Tensor:
    """One frame (3, 4h, 4w), not clamped, of a clip (t, h, w, 3) uint8; later tiles lie on top.

    `network` restores all frames (n, t, 3, 4h, 4w) of a clip (n, t, 3, h, w).
    """
    size, middle = config.feat_size, config.num_frames // 2
    stride, (height, width) = size // 2, lq.shape[1:3]
    window = centred_window(centre, config.num_frames, len(lq)).frames
    clip = torch.from_numpy(lq[list(window)]).to(device).permute(0, 3, 1, 2)[None].float() / 255
    restored = clip.new_empty(3, 4 * height, 4 * width)
    for top in _starts(height, stride):
        for left in _starts(width, stride):
            tile = network(clip[..., top : top + size, left : left + size].contiguous())[0, middle]
            upper, lower = (0 if start == 0 else 2 * stride for start in (top, left))
            rows, columns = (
                slice(4 * top + upper, 4 * (top + size)),
                slice(4 * left + lower, 4 * (left + size)),
            )
            restored[:, rows, columns] = tile[:, upper:, lower:]
    return restored


def _starts(length: int, stride: int) -> list[int]:
    """First pixel of each tile along an axis; the last ones coincide where half tiles fill it."""
    count = length // stride
    return [stride * index for index in range(count - 1)] + [length - 2 * stride]


def _flows(spynet: Part, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Each direction over the clip with both ends repeated, one pair more than is used."""
    extended = torch.cat([clip[:, :1], clip, clip[:, -1:]], dim=1)
    earlier, later = extended[:, :-1].flatten(0, 1), extended[:, 1:].flatten(0, 1)
    forward = _flow(spynet, later, earlier).unflatten(0, (len(clip), -1))[:, :-1]
    backward = _flow(spynet, earlier, later).unflatten(0, (len(clip), -1))[:, 1:]
    return forward, backward


def _flow(spynet: Part, ref: Tensor, supp: Tensor) -> Tensor:
    """For frames whose edges are multiples of 32, like the released tiles."""
    pyramid: list[tuple[Tensor, ...]] = [
        ((ref - spynet.mean) / spynet.std, (supp - spynet.mean) / spynet.std)
    ]
    while len(pyramid) < len(spynet.levels):
        pyramid.append(tuple(F.avg_pool2d(image, 2) for image in pyramid[-1]))
    flow = ref.new_zeros(len(ref), 2, *pyramid[-1][0].shape[-2:])
    for index, (level, (ref_l, supp_l)) in enumerate(zip(spynet.levels, pyramid[::-1], strict=True)):
        if index:
            flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
        x = torch.cat([ref_l, warp(supp_l, flow, "border"), flow], dim=1)
        *hidden, last = level
        for conv in hidden:
            x = F.relu(conv(x))
        flow = flow + last(x)
    return flow


def _norm(norm: Part, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[2:]) * norm.weight + norm.bias


def _attention(attention: Part, x: Tensor) -> Tensor:
    n, t, c, h, w = x.shape
    heads, p = attention.num_heads, attention.patch_size

    def tokens(projection: Part) -> Tensor:
        patches = F.unfold(projection(x.flatten(0, 1)), p, stride=p).unflatten(0, (n, t))
        return patches.unflatten(2, (heads, -1)).permute(0, 2, 1, 4, 3).flatten(2, 3)

    q, k, v = tokens(attention.query), tokens(attention.key), tokens(attention.value)
    weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    patches = (weights @ v).unflatten(2, (t, -1)).permute(0, 2, 1, 4, 3).flatten(2, 3).flatten(0, 1)
    return attention.output(F.fold(patches, (h, w), p, stride=p)).unflatten(0, (n, t))


def _feed_forward(feed_forward: Part, x: Tensor, clip: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    later = torch.cat([x[:, 1:], x[:, -1:]], dim=1).flatten(0, 1)
    earlier = torch.cat([x[:, :1], x[:, :-1]], dim=1).flatten(0, 1)
    restored = []
    for stack, neighbour, flow in (
        (feed_forward.backward_stack, later, backward),
        (feed_forward.forward_stack, earlier, forward),
    ):
        warped = warp(neighbour, flow.flatten(0, 1))
        restored.append(_stack(stack, torch.cat([clip.flatten(0, 1), warped], dim=1)))
    fused = F.leaky_relu(feed_forward.fusion(torch.cat(restored, dim=1)), 0.1)
    return fused.unflatten(0, clip.shape[:2])


def _stack(stack: Part, x: Tensor) -> Tensor:
    return _residual(stack.blocks, F.leaky_relu(stack.head(x), 0.1))


def _residual(blocks: Part, x: Tensor) -> Tensor:
    for block in blocks:
        x = x + block.conv2(F.relu(block.conv1(x), inplace=True))
    return x
