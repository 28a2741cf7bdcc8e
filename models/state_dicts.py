"""Load state dicts from files without running code, check them, and copy them into a network."""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from models.optical_flow import SPyNet

StateDict = dict[str, Tensor]


def load_spynet(path: str | Path) -> SPyNet:
    """Load SPyNet from a file with our own layer names, MMEditing's or BasicSR's.

    Raises ValueError, in one line, for a file that cannot be read or contains code, and for entries that are
    missing, unknown or of the wrong shape.
    """
    origin, tensors = read_tensors(path)
    tensors = {released_spynet_name(name, ""): tensor for name, tensor in tensors.items()}
    widest = shape_of(origin, tensors, "basic_module.0.basic_module.1.conv.weight")[0]
    spynet = SPyNet(widest)
    fill(spynet, origin, tensors, lambda name: released_spynet_name(name, ""))
    return spynet


def read_tensors(source: str | Path | Mapping[str, Any]) -> tuple[str, StateDict]:
    """Read the tensors of a file or a loaded checkpoint, without wrappers such as `params` or `module.`.

    Returns the name of the source, for messages, and the tensors by name. Raises ValueError, in one line, for
    a file that cannot be read and for contents of any other kind.
    """
    origin = "state dict" if isinstance(source, Mapping) else str(source)
    content: object = source if isinstance(source, Mapping) else _read_file(Path(source))
    for wrapper in ("params", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ValueError(f"{origin}: expected a mapping of names to tensors")
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
        raise ValueError(f"{path}: not a checkpoint, or it contains code, which is not run") from None
    except Exception:  # a damaged file can make the readers fail in any way
        raise ValueError(f"{path}: damaged or not a checkpoint; copy or download it again") from None


def released_spynet_name(name: str, prefix: str) -> str:
    """Translate the name of a SPyNet tensor into the released one, after `prefix`; keep any other name.

    MMEditing numbers a level's convolutions 0 to 4 and calls each `conv`; BasicSR also counts the activations
    between them; ours are `levels.<level>.<convolution>`.
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


def shape_of(origin: str, tensors: StateDict, name: str) -> torch.Size:
    """Look up the shape of a required tensor; ValueError if it is missing or a scalar."""
    if name not in tensors or tensors[name].ndim == 0:
        raise ValueError(f"{origin}: has no {name}, so it is not a checkpoint of this network")
    return tensors[name].shape


def fill(model: nn.Module, origin: str, tensors: StateDict, rename: Callable[[str], str]) -> None:
    """Copy `tensors` into `model`; `rename` maps the model's names to those of `tensors`.

    Buffers may be missing. Raises ValueError, in one line, for parameters that are missing and for entries
    that are unknown or of the wrong shape.
    """
    own = model.state_dict()
    names = {rename(name): name for name in own}
    parameters = {rename(name) for name, _ in model.named_parameters()}
    problems = [f"{name} is missing" for name in names if name in parameters and name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in names]
    for name in tensors.keys() & names.keys():
        expected, found = tuple(own[names[name]].shape), tuple(tensors[name].shape)
        if expected != found:
            problems.append(f"{name}: expected shape {expected}, got {found}")
    if problems:
        rest = f", and {len(problems) - 3} more problems" if len(problems) > 3 else ""
        raise ValueError(f"{origin}: {'; '.join(problems[:3])}{rest}")
    model.load_state_dict({name: tensors.get(official, own[name]) for official, name in names.items()})
