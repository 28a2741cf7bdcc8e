"""Load the weights of a trained network."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from models import build_model
from models.network import Network
from vsrbench.core.config import Variant
from vsrbench.core.errors import InputError
from vsrbench.core.lineage import check


def load_trained(variant: Variant, weights: Path) -> Network:
    """Build the variant's network with `weights`, a safetensors file, in evaluation mode on the CPU.

    Raises InputError if the file has changed since its training, cannot be read, or holds the weights of
    another network.
    """
    check(weights)
    model: Network = build_model(variant.model)
    try:
        model.load_state_dict(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{weights}: not the weights of {variant.variant} ({reason}); retrain it") from None
    return model.eval()
