"""Read checkpoints of BasicVSR as BasicSR (commit 8d56e3a) and MMagic (commit 42f9b89) write them.

Both have the same tensors as ours under other names.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.basicvsr import BasicVSR
from models.config import BasicVSRConfig
from models.state_dicts import StateDict, fill, read_tensors, released_spynet_name, shape_of

_BASICSR_NAMES = (
    (r"^(backward|forward)_trunk\.head\.", r"\1_trunk.main.0."),
    (r"^(backward|forward)_trunk\.blocks\.", r"\1_trunk.main.2."),
    (r"^reconstruction\.upsample(\d)\.", r"upconv\1."),
    (r"^reconstruction\.refine\.", r"conv_hr."),
    (r"^reconstruction\.to_rgb\.", r"conv_last."),
)
_MMAGIC_NAMES = (
    (r"^(backward|forward)_resblocks\.", r"\1_trunk."),
    (r"^upsample(\d)\.upsample_conv\.", r"upconv\1."),
)
_GENERATOR = "generator."  # before the names of the network in MMagic's checkpoints


def is_basicvsr(tensors: StateDict) -> bool:
    """Tell from the names of a checkpoint's tensors whether it is of a BasicVSR, in either layout."""
    return any(re.match(r"(generator\.)?backward_(trunk|resblocks)\.main\.", name) for name in tensors)


def basicsr_name(name: str) -> str:
    """Translate the name of one of our tensors into BasicSR's; SPyNet's convolutions stay MMagic's."""
    for pattern, released in _BASICSR_NAMES:
        name = re.sub(pattern, released, name)
    return (
        f"spynet.{released_spynet_name(name.removeprefix('spynet.'), '')}"
        if name.startswith("spynet.")
        else name
    )


def load_basicvsr(source: str | Path | Mapping[str, Any]) -> BasicVSR:
    """Load a released BasicVSR from a checkpoint, a file or a loaded state dict, in evaluation mode.

    All sizes are inferred from the tensors' shapes. Raises ValueError, in one line, for a file that cannot be
    read or contains code, and for entries that are missing, unknown or of the wrong shape.
    """
    origin, tensors = read_tensors(source)
    if any(name.startswith(_GENERATOR) for name in tensors):  # beside it lie counters and pre-processing
        tensors = {
            name.removeprefix(_GENERATOR): tensor
            for name, tensor in tensors.items()
            if name.startswith(_GENERATOR)
        }
    tensors = {_common_name(name): tensor for name, tensor in tensors.items()}
    blocks = {
        int(found[1]) for name in tensors if (found := re.match(r"backward_trunk\.main\.2\.(\d+)\.", name))
    }
    model = BasicVSR(
        BasicVSRConfig(
            num_feat=shape_of(origin, tensors, "fusion.weight")[0],
            num_blocks=max(blocks, default=-1) + 1,
            flow_num_feat=shape_of(origin, tensors, "spynet.basic_module.0.basic_module.1.conv.weight")[0],
        )
    )
    fill(model, origin, tensors, basicsr_name)
    return model.eval()


def _common_name(name: str) -> str:
    """Translate a released name of either family into that of `basicsr_name`."""
    for pattern, common in _MMAGIC_NAMES:
        name = re.sub(pattern, common, name)
    return released_spynet_name(name, "spynet.") if name.startswith("spynet.") else name
