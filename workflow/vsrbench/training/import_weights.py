"""Take a network's weights from a checkpoint that was trained elsewhere, in place of a training."""

from pathlib import Path

from safetensors.torch import save

from models import build_model
from models.own_config import OwnConfig
from models.released import load_released
from models.state_dicts import StateDict, read_tensors
from vsrbench.core.config import Variant, load_variant
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import begin, write_provenance


def import_weights(*, config: Path, weights: Path, out: Path) -> None:
    """Convert the checkpoint `weights` of the variant `config` into `out`, and write the provenance.

    A checkpoint of the released VSR Transformer or of BasicVSR, or one with the names of the network's own
    tensors, such as the weights of a run. Raises InputError for a file that is neither, or of another size.
    """
    begun, made = begin("import_weights"), origin("import_weights", config, weights)
    variant = load_variant(config)
    network = build_model(variant.model)
    try:
        network.load_state_dict(_tensors(weights, variant, network.state_dict()))
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{weights}: not the weights of {variant.variant} ({reason}); correct weights.{variant.variant} "
            "in the study file, or overrides.model"
        ) from None
    provenance = out.parent / "provenance.json"
    write_provenance(provenance, begun, source=weights.name, sha256=sha256(weights), device_hours=0.0)
    with atomic_write(out) as partial:
        partial.write_bytes(save(network.state_dict()))
    made.record(provenance, out)


def _tensors(path: Path, variant: Variant, own: StateDict) -> StateDict:
    """Read the tensors under the network's own names; ValueError for a file that holds others."""
    _, tensors = read_tensors(path)
    if tensors.keys() == own.keys() or isinstance(variant.model, OwnConfig):
        return tensors
    return load_released(path, num_frames=variant.model.num_frames).state_dict()
