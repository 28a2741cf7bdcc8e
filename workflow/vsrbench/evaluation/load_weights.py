"""A network as its training left it."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from models import build_model
from models.vsr_transformer import VSRTransformer
from vsrbench.core.config import Variant
from vsrbench.core.errors import InputError


def load_trained(variant: Variant, weights: Path) -> VSRTransformer:
    """The variant's network with `weights`, ready to restore; InputError where they are of another one."""
    model = build_model(variant.model)
    try:
        model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{weights}: not weights of {variant.variant} ({reason}); train it again") from None
    return model.eval()
