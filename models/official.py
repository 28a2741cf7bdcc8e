"""Checkpoints of the released code (commit 8770126) and of SPyNet: read into our networks, and written.

The released network holds the same tensors as ours under other names; `official_name` is the whole
difference.
"""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from models.config import ModelConfig
from models.optical_flow import SPyNet
from models.vsr_transformer import VSRTransformer

StateDict = dict[str, Tensor]

_OFFICIAL_NAMES = (
    (r"^extraction\.head\.", r"conv_first."),
    (r"^extraction\.blocks\.", r"feature_extraction."),
    (r"^spynet\.levels\.(\d+)\.(\d+)\.", r"spynet.spynet.basic_module.\1.basic_module.\2.conv."),
    (r"^spynet\.(mean|std)$", r"spynet.spynet.\1"),
    (r"^position_encoding\.frequencies$", r"pos_embedding.penc.inv_freq"),
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

# What the released code has built in, whatever its settings.
_BUILT_IN = {
    "attention": "stcsa",
    "feed_forward": "flow_aligned",
    "flow": "spynet",
    "position_encoding": "as_released",
    "norm": "spatial_affine",
    "feat_size": 64,
    "num_feed_forward_blocks": 30,
    "flow_num_feat": 64,
}


def official_name(name: str) -> str:
    """What the released code calls the tensor that we call `name`."""
    for pattern, official in _OFFICIAL_NAMES:
        name, found = re.subn(pattern, official, name)
        if found:
            return name
    raise ValueError(f"the released network has no {name}")


def load_official(
    source: str | Path | Mapping, *, num_frames: int = 5, num_heads: int = 1, patch_size: int = 8
) -> VSRTransformer:
    """The released network from its checkpoint, a file or a loaded one, ready to run.

    Widths, depth and numbers of blocks follow from the shapes; frames, heads and patches leave no trace in
    them and must be said. Raises ValueError, in one line, for a file that cannot be read or carries code,
    and for entries that are missing, unknown or of the wrong shape.
    """
    origin, tensors = _read(source)
    tensors = {_current_name(name, "spynet.spynet."): tensor for name, tensor in tensors.items()}
    sizes = _sizes(origin, tensors)
    model = VSRTransformer(
        ModelConfig(num_frames=num_frames, num_heads=num_heads, patch_size=patch_size, **sizes)
    )
    # Releases of the package that makes the position code differ in what they store.
    code = {name for name in tensors if name.startswith("pos_embedding.")} - {"pos_embedding.penc.inv_freq"}
    _fill(
        model, origin, {name: tensor for name, tensor in tensors.items() if name not in code}, official_name
    )
    return model.eval()


def load_spynet(path: str | Path) -> SPyNet:
    """SPyNet from a file: our own, or as MMEditing or BasicSR name its layers. Raises ValueError as above."""
    origin, tensors = _read(path)
    tensors = {_current_name(name, ""): tensor for name, tensor in tensors.items()}
    widest = _shape(origin, tensors, "basic_module.0.basic_module.1.conv.weight")[0]
    spynet = SPyNet(widest)
    _fill(
        spynet, origin, tensors, lambda name: official_name(f"spynet.{name}").removeprefix("spynet.spynet.")
    )
    return spynet


def save_official(model: VSRTransformer, path: str | Path) -> None:
    """Write a checkpoint that the released code loads; ValueError for a network that it cannot express."""
    for key, built_in in _BUILT_IN.items():
        if (value := getattr(model.config, key)) != built_in:
            raise ValueError(f"{path}: model.{key} is {value}, but the released code has {built_in} built in")
    tensors = {
        official_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    unfinished = Path(f"{path}.unfinished")
    torch.save({"params": tensors}, unfinished)
    os.replace(unfinished, path)


def _read(source: str | Path | Mapping) -> tuple[str, StateDict]:
    """Where the tensors come from, for messages, and the tensors, out of their wrappers."""
    origin = "state dict" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else _read_file(Path(source))
    for wrapper in ("params", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError(f"{origin}: holds no mapping of names to tensors")
    return origin, {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _read_file(path: Path) -> object:
    try:
        with open(path, "rb") as file:
            if path.suffix == ".safetensors":
                return load(file.read())
            return torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except pickle.UnpicklingError:
        raise ValueError(f"{path}: refused, is no checkpoint or carries more than tensors") from None
    except Exception:  # a damaged file can make the readers fail in any way
        raise ValueError(f"{path}: damaged or no checkpoint; copy or download it again") from None


def _current_name(name: str, prefix: str) -> str:
    """A SPyNet entry's name as the release has it, after `prefix`; any other name as it is.

    MMEditing numbers a level's convolutions 0..4 and calls each `conv`; BasicSR counts the activations
    between them as well; ours are `levels.<level>.<convolution>`.
    """
    if found := re.fullmatch(r"(?:spynet\.)*basic_module\.(\d)\.basic_module\.(\d)\.(conv\.)?(\w+)", name):
        level, layer, conv, kind = found.groups()
        layer = int(layer) if conv else int(layer) // 2
        return f"{prefix}basic_module.{level}.basic_module.{layer}.conv.{kind}"
    if found := re.fullmatch(r"levels\.(\d)\.(\d)\.(\w+)", name):
        return f"{prefix}basic_module.{found[1]}.basic_module.{found[2]}.conv.{found[3]}"
    if found := re.fullmatch(r"(?:spynet\.)*(mean|std)", name):
        return prefix + found[1]
    return name


def _sizes(origin: str, tensors: StateDict) -> dict[str, int]:
    """The settings of a released network that show in its tensors' names and shapes."""

    def count(prefix: str) -> int:
        indices = {int(found[1]) for name in tensors if (found := re.match(prefix + r"\.(\d+)\.", name))}
        return max(indices, default=-1) + 1

    return {
        "num_feat": _shape(origin, tensors, "conv_first.weight")[0],
        "feat_size": _shape(origin, tensors, "transformer.layers.0.1.fn.norm.weight")[-1],
        "depth": count(r"transformer\.layers"),
        "num_extract_blocks": count("feature_extraction"),
        "num_reconstruct_blocks": count("reconstruction"),
        "num_feed_forward_blocks": count(r"transformer\.layers\.0\.1\.fn\.fn\.backward_resblocks\.main\.2"),
        "flow_num_feat": _shape(origin, tensors, "spynet.spynet.basic_module.0.basic_module.1.conv.weight")[
            0
        ],
    }


def _shape(origin: str, tensors: StateDict, name: str) -> torch.Size:
    if name not in tensors or tensors[name].ndim == 0:
        raise ValueError(f"{origin}: has no {name}, so it is no checkpoint of this network")
    return tensors[name].shape


def _fill(model: nn.Module, origin: str, tensors: StateDict, rename) -> None:
    """Copy the tensors into the model; `rename` gives its names in the file. Buffers may be absent."""
    own = model.state_dict()
    names = {rename(name): name for name in own}
    parameters = {rename(name) for name, _ in model.named_parameters()}
    faults = [f"{name} is missing" for name in names if name in parameters and name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in names]
    for name in tensors.keys() & names.keys():
        expected, found = tuple(own[names[name]].shape), tuple(tensors[name].shape)
        if expected != found:
            faults.append(f"{name} has the shape {found}, not {expected}")
    if faults:
        rest = f", and {len(faults) - 3} more faults" if len(faults) > 3 else ""
        raise ValueError(f"{origin}: {'; '.join(faults[:3])}{rest}")
    model.load_state_dict({name: tensors.get(official, own[name]) for official, name in names.items()})
