"""LPIPS (Zhang et al. 2018), version 0.1, with trained backbones only.

The package `lpips` ships its linear layers but not the ImageNet backbones below them. Those are read from a
folder or from torch's cache, never downloaded, and verified by the distance they give for a fixed pair.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from vsrbench.core.errors import InputError

NETS = {"alex": "alexnet", "squeeze": "squeezenet1_1"}  # LPIPS's name: torchvision's, a prefix of file names

HOW_TO_GET = (
    "LPIPS needs the ImageNet weights of its backbones: set lpips_weights (or VSRBENCH_LPIPS_WEIGHTS) to a "
    "folder that holds alexnet*.pth and squeezenet1_1*.pth, or fetch them once into torch's cache: python -c "
    "\"from torchvision.models import *; alexnet(weights='DEFAULT'); squeezenet1_1(weights='DEFAULT')\""
)

# LPIPS of `_check_pair`, obtained with weights that reproduce the published values of the LPIPS repository's
# example (0.722 and 0.138 with alex) and of torchmetrics' documentation (0.1008 with squeeze).
_CHECK_VALUES = {"alex": 0.707983, "squeeze": 0.662938}
_CHECK_TOLERANCE = 1e-4


class Lpips(nn.Module):
    """Maps frames to vectors whose squared distance is LPIPS, so that each frame passes the backbone once."""

    def __init__(self, net: str, backbone: dict[str, Tensor]) -> None:
        """Build the network `net` (alex or squeeze) on `backbone`, torchvision's state (`features.N...`).

        Raises KeyError or RuntimeError if `backbone` belongs to another network.
        """
        super().__init__()
        import lpips  # imports torchvision, which a training machine need not have

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision in a deprecated way
            metric = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
        # `sliceK.N...` there is `features.N...` in torchvision.
        layers = {key: backbone["features." + key.split(".", 1)[1]] for key in metric.net.state_dict()}
        metric.net.load_state_dict(layers)
        self.scaling_layer, self.net, self.lins = metric.scaling_layer, metric.net, metric.lins
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute float32 vectors (n, d) of uint8 RGB frames (n, h, w, 3); d depends on h and w."""
        image = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
        parts = []
        with full_precision():
            for features, linear in zip(self.net(self.scaling_layer(image)), self.lins, strict=True):
                # LPIPS: mean over positions of sum_c w_c (u_c - v_c)^2, u and v of unit length over channels.
                length = torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10
                weight = linear.model[-1].weight / (features.shape[2] * features.shape[3])
                part = features.div_(length).mul_(weight.sqrt())  # in place: these are the largest arrays
                parts.append(part.permute(0, 2, 3, 1).flatten(1))  # in memory order, so without a copy
        return torch.cat(parts, 1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Compute the LPIPS (...) of pairs of frames from their vectors (..., d); at least 0."""
    return (a - b).square_().sum(-1)


@cache
def load_lpips(net: str, weights: Path | None = None) -> Lpips | None:
    """Load LPIPS with its backbone from the folder `weights` or torch's cache; None if neither has it.

    `net` is `alex` or `squeeze`. Raises InputError if a file does not hold the backbone that its name states.
    """
    path = _find(net, weights)
    if path is None:
        return None
    try:
        metric = Lpips(net, torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises many types for a damaged or foreign file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not torchvision's {NETS[net]} ({reason}); download it again") from None
    with torch.inference_mode():
        value = distance(*metric(_check_pair()).split(1)).item()
    if abs(value - _CHECK_VALUES[net]) > _CHECK_TOLERANCE:
        raise InputError(
            f"{path}: not the ImageNet weights of {NETS[net]}, so LPIPS would be wrong; download it again"
        )
    return metric


def _find(net: str, weights: Path | None) -> Path | None:
    folders = [Path(weights)] if weights else []
    folders.append(Path(torch.hub.get_dir()) / "checkpoints")
    return next((path for folder in folders for path in sorted(folder.glob(f"{NETS[net]}*.pth"))), None)


def _check_pair() -> Tensor:
    """Two fixed images, uint8 (2, 64, 64, 3), with edges, colours and texture."""
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    first = torch.stack([row * 4, column * 4, (row // 8 + column // 8) % 2 * 255], -1)
    second = torch.stack([row * 4, (row * column) % 256, column * 4], -1)
    return torch.stack([first, second]).to(torch.uint8)


@contextmanager
def full_precision() -> Iterator[None]:
    """Disable TF32 in convolutions: it would change the last digits that are reported."""
    flags = torch.backends.cudnn
    with flags.flags(
        enabled=flags.enabled, benchmark=flags.benchmark, deterministic=flags.deterministic, allow_tf32=False
    ):
        yield
