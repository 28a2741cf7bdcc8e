"""The networks under study. `build_model` and `load_official` are the only ways in.

torch is imported on the first call: the Snakefile reads `ModelConfig` and must start fast.
"""

from models.config import CHOICES, ModelConfig

__all__ = ["CHOICES", "ModelConfig", "build_model", "load_official", "save_official"]


def build_model(config: ModelConfig):
    """The network that `config` describes, freshly initialised from torch's global random state."""
    from models.vsr_transformer import VSRTransformer

    return VSRTransformer(config)


def load_official(path_or_state_dict, *, num_frames: int = 5, num_heads: int = 1, patch_size: int = 8):
    """The released network from its checkpoint; see `models.official.load_official`."""
    from models import official

    return official.load_official(
        path_or_state_dict, num_frames=num_frames, num_heads=num_heads, patch_size=patch_size
    )


def save_official(model, path) -> None:
    """Write a checkpoint that the released code loads; see `models.official.save_official`."""
    from models import official

    official.save_official(model, path)
