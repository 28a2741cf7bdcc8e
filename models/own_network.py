"""Run a person's own network like the others."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location

import torch
from torch import Tensor, nn

from models.feed_forward import Flows
from models.network import ClipNetwork, Network
from models.own_config import OwnConfig, source_of
from models.vsr_transformer import SCALE


class OwnNetwork(Network):
    """A network for windows: `own` is the person's module."""

    config: OwnConfig

    def __init__(self, config: OwnConfig):
        super().__init__()
        self.config = config
        self.spynet = None
        self.own = _load_class(config.network)(**config.settings)

    def check(self) -> None:
        """Restore a small black clip; ValueError, in one line, where that fails."""
        clip = next(self.parameters(), torch.zeros(())).new_zeros(1, self.config.num_frames, 3, 16, 20)
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                self(clip)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"network {self.config.network}: fails on {tuple(clip.shape)}: {reason}"
            ) from None

    def forward(self, clip: Tensor, flows: Flows | None = None) -> Tensor:
        """Restore every frame of a clip (n, t, 3, h, w); ValueError for a result of another shape."""
        restored: Tensor = self.own(clip)
        n, t, _, h, w = clip.shape
        if restored.shape != (n, t, 3, SCALE * h, SCALE * w):
            raise ValueError(
                f"network {self.config.network}: maps {tuple(clip.shape)} to {tuple(restored.shape)}; "
                f"expected {(n, t, 3, SCALE * h, SCALE * w)}"
            )
        return restored


class OwnClipNetwork(OwnNetwork, ClipNetwork):
    """A network for whole clips; its memory grows with what it keeps of them."""

    def restore(self, read: Callable[[int], Tensor], num_frames: int) -> Iterator[Tensor]:
        """Restore a clip at once; see `ClipNetwork.restore`."""
        yield from self(torch.stack([read(t) for t in range(num_frames)], dim=1)).unbind(1)


def build_own(config: OwnConfig) -> Network:
    """Build the network that `config` describes."""
    return OwnClipNetwork(config) if config.protocol == "clip" else OwnNetwork(config)


def _load_class(network: str) -> Callable[..., nn.Module]:
    path, name = source_of(network)
    place = network.rpartition(":")[0]
    if not place.endswith(".py"):
        found: Callable[..., nn.Module] = getattr(import_module(place), name)
        return found
    spec = spec_from_file_location(f"own_network_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look it up
    spec.loader.exec_module(module)
    found = getattr(module, name)
    return found
