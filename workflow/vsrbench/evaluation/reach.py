"""How far a network looks: its effective receptive field, its attention, and what confining that costs.

The receptive field is the energy of the gradient of the middle frame's middle pixel over all values of the
input window (Luo et al. 2016), and is measured of the trained network and of a fresh one of the same seed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import build_model
from models.attention import ConvolutionalAttention, FullyConnectedAttention
from models.network import Network
from models.vsr_transformer import VSRTransformer
from vsrbench.core.config import load_variant
from vsrbench.core.device import choose_device
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.evaluation.inspect_network import AttentionWeights
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.metrics import psnr

CONFINED = ("frame", "place", "neighbours")
DISTANCES = (0, 2, 4, 8, 16)  # lower edges of the classes, in LQ pixels


@dataclass(frozen=True)
class Attended:
    """Where the middle token's attention goes, on average over blocks and heads."""

    pixels: float  # mean distance in space, LQ pixels
    frames: float  # mean distance in time
    entropy: float  # of its shares, from 0 (one token) to 1 (all alike)


def measure_reach(
    *,
    config: Path,
    weights: Path,
    manifest: Path,
    seed: int,
    out: Path,
    mode: str = "tiled",
    tile_overlap: int | None = None,
    precision: str = "float32",
) -> None:
    """Write the receptive fields (t, h, w) of a trained and a fresh network, with the facts as metadata.

    `out` is a safetensors file, `config` a resolved variant and `weights` those trained for it with `seed`.
    Means are over the test clips of the data set, of which the network sees the middle window and tile. The
    scores are PSNR RGB in dB of all scored frames, restored with `mode`, `tile_overlap` and `precision`, with
    the attention as trained and confined as `models.attention.within_reach` says.

    Raises InputError for a network that is given exact flow.
    """
    made = origin("measure_reach", config, weights, manifest)
    variant = load_variant(config)
    if variant.model.flow_source == "oracle":
        raise InputError(f"{config}: is given exact flow, which depends on no input; leave it out")
    trained = load_trained(variant, weights).to(choose_device(None))
    torch.manual_seed(seed)
    fresh: Network = build_model(variant.model).eval()
    if fresh.spynet is not None and trained.spynet is not None:  # trained before, and by itself
        fresh.spynet.load_state_dict(trained.spynet.state_dict())
    clips = load_clips(manifest, "test")
    fields: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"variant": variant.variant, "seed": seed, "dataset": clips[0].dataset}
    for name, network in {"trained": trained, "initial": fresh.to(choose_device(None))}.items():
        windows = [middle_window(network, clip) for clip in clips]
        fields[name] = torch.stack([receptive_field(network, window) for window in windows]).mean(0).cpu()
        facts[f"{name}_energy"] = energy_by_distance(fields[name])
        if isinstance(network, VSRTransformer) and network.config.attention != "none":
            looks = [attended(network, window) for window in windows]
            facts |= {
                f"{name}_{key}": float(np.mean([getattr(look, key) for look in looks]))
                for key in ("pixels", "frames", "entropy")
            }
    options = RestoreOptions(mode, tile_overlap, precision)
    facts |= {f"psnr_rgb_{reach}": score for reach, score in scores_by_reach(trained, clips, options)}
    with atomic_write(out) as partial:
        save_file(fields, partial, {"facts": json.dumps(facts)})
    made.record(out)


def middle_window(network: Network, clip: Clip) -> Tensor:
    """Read the window of frames and the tile in the middle of a clip: (1, t, 3, h, w), RGB in [0, 1]."""
    config = network.config
    first = max(0, (clip.num_frames - config.num_frames) // 2)
    frames = range(first, min(first + config.num_frames, clip.num_frames))
    lq = clip.read(list(frames))[0]
    top, left = ((size - config.feat_size) // 2 for size in lq.shape[1:3])
    if min(top, left) < 0:
        edge = config.feat_size
        raise InputError(f"{clip.gt[0].parent}: smaller than a tile of {edge} LQ pixels; leave it out")
    tile = lq[:, top : top + config.feat_size, left : left + config.feat_size]
    device = next(network.parameters()).device
    return torch.from_numpy(np.ascontiguousarray(tile)).to(device).movedim(-1, 1)[None].float() / 255


def receptive_field(network: Network, window: Tensor) -> Tensor:
    """Share of each input pixel in the energy of the middle pixel's gradient: (t, h, w), which sums to 1.

    The middle pixel is the first of the sixteen that the LQ pixel (h // 2, w // 2) becomes, all channels.
    """
    clip = window.clone().requires_grad_()
    _, t, _, h, w = clip.shape
    network(clip)[0, t // 2, :, 4 * (h // 2), 4 * (w // 2)].sum().backward()
    assert clip.grad is not None
    energy = clip.grad[0].square().sum(dim=1)
    return energy / energy.sum()


def energy_by_distance(field: Tensor) -> list[list[float]]:
    """Sum the shares of a field (t, h, w) by distance: a row for 0, 1, ... frames, a column for DISTANCES.

    The distance in space is the larger of those along rows and columns.
    """
    t, h, w = field.shape
    rows, columns = ((torch.arange(size) - size // 2).abs() for size in (h, w))
    distance = torch.maximum(rows[:, None], columns[None])
    classes = torch.bucketize(distance, torch.tensor(DISTANCES), right=True) - 1
    table = torch.zeros(t // 2 + 1, len(DISTANCES))
    for frame, energy in enumerate(field):
        table[abs(frame - t // 2)].index_add_(0, classes.flatten(), energy.flatten())
    return table.tolist()


@torch.inference_mode()
def attended(network: VSRTransformer, window: Tensor) -> Attended:
    """Measure where the token in the middle of the middle frame attends."""
    patch = network.config.patch_size
    t, rows, columns = window.shape[1], window.shape[-2] // patch, window.shape[-1] // patch
    axes = (torch.arange(size) for size in (t, rows, columns))
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)
    middle = torch.tensor([t // 2, rows // 2, columns // 2])
    query = int((place == middle).all(dim=1).nonzero())
    with AttentionWeights(query) as seen:
        network.transform(network.extract(window), window, network.flows(window))
    shares = torch.stack(seen.weights).cpu().flatten(0, 1).double()  # (blocks and heads, tokens)
    apart = (place - middle).double()
    return Attended(
        pixels=float((shares @ (patch * apart[:, 1:].norm(dim=1))).mean()),
        frames=float((shares @ apart[:, 0].abs()).mean()),
        entropy=float(torch.special.entr(shares).sum(dim=1).mean()) / log(max(len(place), 2)),
    )


def scores_by_reach(
    network: Network, clips: list[Clip], options: RestoreOptions
) -> Iterator[tuple[str, float]]:
    """Yield PSNR RGB in dB as trained ("trained"), then, if attention reaches all, with it confined."""
    yield "trained", _score(network, clips, options)
    if not isinstance(network, VSRTransformer) or network.config.attention == "none":
        return
    if network.config.attention_reach == "all":
        for reach in CONFINED:
            for part in network.modules():
                if isinstance(part, ConvolutionalAttention | FullyConnectedAttention):
                    part.reach = reach
            yield reach, _score(network, clips, options)


def _score(network: Network, clips: list[Clip], options: RestoreOptions) -> float:
    means = []
    for clip in clips:
        lq, gt = clip.read()
        images = restore_clip(network, lq, options, frames=clip.scored)
        restored = np.stack([to_frame(image) for image in images])
        means.append(np.mean(psnr(restored, gt[list(clip.scored)])))
    return float(np.mean(means))
