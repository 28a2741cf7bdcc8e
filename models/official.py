"""Read and write checkpoints of the released code (commit 8770126).

The released network has the same tensors as ours under other names; `official_name` is the only difference.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.config import ModelConfig
from models.state_dicts import StateDict, fill, read_tensors, released_spynet_name, shape_of
from models.vsr_transformer import VSRTransformer

_OFFICIAL_NAMES = (
    (r"^extraction\.head\.", r"conv_first."),
    (r"^extraction\.blocks\.", r"feature_extraction."),
    (r"^spynet\.levels\.(\d+)\.(\d+)\.", r"spynet.spynet.basic_module.\1.basic_module.\2.conv."),
    (r"^spynet\.(mean|std)$", r"spynet.spynet.\1"),
    (r"^positional_encoding\.frequencies$", r"pos_embedding.penc.inv_freq"),
    (r"^blocks\.(\d+)\.norm1\.", r"transformer.layers.\1.0.fn.norm."),
    (r"^blocks\.(\d+)\.attention\.query\.", r"transformer.layers.\1.0.fn.fn.to_q."),
    (r"^blocks\.(\d+)\.attention\.key\.", r"transformer.layers.\1.0.fn.fn.to_k."),
    (r"^blocks\.(\d+)\.attention\.value\.", r"transformer.layers.\1.0.fn.fn.to_v."),
    (r"^blocks\.(\d+)\.attention\.output\.", r"transformer.layers.\1.0.fn.fn.conv."),
    (r"^blocks\.(\d+)\.norm2\.", r"transformer.layers.\1.1.fn.norm."),
    (
        r"^blocks\.(\d+)\.feed_forward\.(\w+)_stack\.head\.",
        r"transformer.layers.\1.1.fn.fn.\2_resblocks.main.0.",
    ),
    (
        r"^blocks\.(\d+)\.feed_forward\.(\w+)_stack\.blocks\.",
        r"transformer.layers.\1.1.fn.fn.\2_resblocks.main.2.",
    ),
    (r"^blocks\.(\d+)\.feed_forward\.fusion\.", r"transformer.layers.\1.1.fn.fn.fusion."),
    (r"^reconstruction\.blocks\.", r"reconstruction."),
    (r"^reconstruction\.upsample(\d)\.", r"upconv\1."),
    (r"^reconstruction\.refine\.", r"conv_hr."),
    (r"^reconstruction\.to_rgb\.", r"conv_last."),
)

# Options that are hard-coded in the released code.
_BUILT_IN = {
    "attention": "stcsa",
    "feed_forward": "flow_aligned",
    "flow": "spynet",
    "positional_encoding": "as_released",
    "norm": "spatial_affine",
    "feat_size": 64,
    "num_feed_forward_blocks": 30,
    "flow_num_feat": 64,
}


def official_name(name: str) -> str:
    """Translate the name of one of our tensors into the released code's; ValueError if it has none."""
    for pattern, official in _OFFICIAL_NAMES:
        name, found = re.subn(pattern, official, name)
        if found:
            return name
    raise ValueError(f"the released network has no {name}")


def load_official(
    source: str | Path | Mapping[str, Any], *, num_frames: int = 5, num_heads: int = 1, patch_size: int = 8
) -> VSRTransformer:
    """Load the released network from a checkpoint, a file or a loaded state dict, in evaluation mode.

    Widths, depth and numbers of blocks are inferred from the tensors' shapes; the numbers of frames and heads
    and the patch size cannot be inferred and must be given. Raises ValueError, in one line, for a file that
    cannot be read or contains code, and for entries that are missing, unknown or of the wrong shape.
    """
    origin, tensors = read_tensors(source)
    tensors = {released_spynet_name(name, "spynet.spynet."): tensor for name, tensor in tensors.items()}
    sizes = _sizes(origin, tensors)
    model = VSRTransformer(
        ModelConfig(num_frames=num_frames, num_heads=num_heads, patch_size=patch_size, **sizes)
    )
    # Releases of the package that makes the positional encoding differ in what they store.
    code = {name for name in tensors if name.startswith("pos_embedding.")} - {"pos_embedding.penc.inv_freq"}
    fill(model, origin, {name: tensor for name, tensor in tensors.items() if name not in code}, official_name)
    return model.eval()


def save_official(model: VSRTransformer, path: str | Path) -> None:
    """Write `model` as a checkpoint that the released code can load.

    Raises ValueError for a network with options that the released code does not have.
    """
    for key, built_in in _BUILT_IN.items():
        if (value := getattr(model.config, key)) != built_in:
            raise ValueError(
                f"{path}: model.{key} is {value}, but the released code supports only {built_in}"
            )
    tensors = {
        official_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    unfinished = Path(f"{path}.unfinished")
    torch.save({"params": tensors}, unfinished)
    os.replace(unfinished, path)


def _sizes(origin: str, tensors: StateDict) -> dict[str, Any]:
    """Infer the sizes of a released network from its tensors' names and shapes."""

    def count(prefix: str) -> int:
        indices = {int(found[1]) for name in tensors if (found := re.match(prefix + r"\.(\d+)\.", name))}
        return max(indices, default=-1) + 1

    return {
        "num_feat": shape_of(origin, tensors, "conv_first.weight")[0],
        "feat_size": shape_of(origin, tensors, "transformer.layers.0.1.fn.norm.weight")[-1],
        "depth": count(r"transformer\.layers"),
        "num_extract_blocks": count("feature_extraction"),
        "num_reconstruct_blocks": count("reconstruction"),
        "num_feed_forward_blocks": count(r"transformer\.layers\.0\.1\.fn\.fn\.backward_resblocks\.main\.2"),
        "flow_num_feat": shape_of(origin, tensors, "spynet.spynet.basic_module.0.basic_module.1.conv.weight")[
            0
        ],
    }
