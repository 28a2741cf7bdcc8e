"""The networks under study: build one with `build_model` or load released weights with `load_official`.

torch is imported on the first call, because the Snakefile reads `ModelConfig` and must start fast.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.config import CHOICES, ModelConfig

if TYPE_CHECKING:
    from models.vsr_transformer import VSRTransformer

__all__ = ["CHOICES", "ModelConfig", "build_model", "load_official", "save_official"]


def build_model(config: ModelConfig) -> "VSRTransformer":
    """Build the network that `config` describes, initialised from torch's global random state."""
    from models.vsr_transformer import VSRTransformer

    return VSRTransformer(config)


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
