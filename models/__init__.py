"""The networks under study: build one with `build_model` or load released weights with `load_official`.

torch is imported on the first call, because the Snakefile reads `ModelConfig` and must start fast.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from models.config import CHOICES, DEFAULT, NETWORKS, BasicVSRConfig, ModelConfig, NetworkConfig
from models.own_config import OwnConfig

if TYPE_CHECKING:
    from models.network import Network
    from models.vsr_transformer import VSRTransformer

__all__ = ["CHOICES", "ModelConfig", "build_model", "load_official", "network_config", "save_official"]


@overload
def build_model(config: ModelConfig) -> "VSRTransformer": ...
@overload
def build_model(config: NetworkConfig) -> "Network": ...
def build_model(config: NetworkConfig) -> "Network":
    """Build the network that `config` describes, initialised from torch's global random state."""
    if isinstance(config, OwnConfig):
        from models.own_network import build_own

        return build_own(config)
    if isinstance(config, BasicVSRConfig):
        from models.basicvsr import BasicVSR

        return BasicVSR(config)
    assert isinstance(config, ModelConfig)
    from models.vsr_transformer import VSRTransformer

    return VSRTransformer(config)


def network_config(settings: Mapping[str, Any]) -> NetworkConfig:
    """Check the settings of a network; `network` names it, by default the VSR Transformer.

    Raises ValueError, naming the key, for values that the network cannot have; TypeError for unknown keys.
    """
    network = settings.get("network", DEFAULT)
    if ":" in network:
        return OwnConfig(**settings)
    if network not in NETWORKS:
        raise ValueError(
            f"network: unknown network {network!r}; expected {', '.join(NETWORKS)}, <file>.py:<class> or "
            "<module>:<class>"
        )
    return NETWORKS[network](**{key: value for key, value in settings.items() if key != "network"})


def load_official(
    path_or_state_dict: str | Path | Mapping[str, Any],
    *,
    num_frames: int = 5,
    num_heads: int = 1,
    patch_size: int = 8,
) -> "VSRTransformer":
    """Load the released network from its checkpoint; see `models.official.load_official`."""
    from models import official

    return official.load_official(
        path_or_state_dict, num_frames=num_frames, num_heads=num_heads, patch_size=patch_size
    )


def save_official(model: "VSRTransformer", path: str | Path) -> None:
    """Write a checkpoint that the released code can load; see `models.official.save_official`."""
    from models import official

    official.save_official(model, path)
