"""Device selection, peak memory and deterministic algorithms."""

import os
import re
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vsrbench.core.errors import InputError

# The two wordings of torch's warnings, each preceded by the name of the operation.
NOT_DETERMINISTIC = "(.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic)"


def choose_device(name: str | None = None) -> torch.device:
    """Select the device cpu, cuda or cuda:<number>; by default a GPU if there is one, else the CPU.

    Under `torchrun`, "cuda" is the GPU of the process's local rank. Raises InputError for any other name, and
    if that GPU is not visible.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return torch.device(name)
    if kind != "cuda" or bool(colon) != number.isdecimal():
        raise InputError(f"unknown device {name!r}; expected cpu, cuda or cuda:<number>")
    index = int(number or os.environ.get("LOCAL_RANK", "0"))
    visible = torch.cuda.device_count()
    if index >= visible:
        raise InputError(
            f"device {name}: GPU {index} is not among the {visible} that are visible; "
            "start fewer processes or use --device cpu"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def disable_tf32() -> None:
    """Compute float32 convolutions on a GPU in float32; by default they use TF32, with a 10-bit mantissa."""
    torch.backends.cudnn.allow_tf32 = False


def device_name(device: torch.device) -> str:
    """Return the model name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def peak_rss_gib() -> float:
    """Return the peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory in GiB: of tensors on a GPU, of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return peak_rss_gib()


@contextmanager
def deterministic(device: torch.device, names: set[str]) -> Iterator[None]:
    """Use deterministic algorithms where they exist; add the operations that have none to `names`.

    Attention uses the unfused backend: the gradients of the fused ones are not deterministic, and with few,
    long tokens (320 of 4096 values) the matrix of weights takes little memory. On the CPU all operations are
    deterministic anyway.
    """
    if device.type != "cuda":
        yield
        return
    show = warnings.showwarning

    def collect(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if found := re.match(NOT_DETERMINISTIC, str(message)):
            names.add(found[1])
        else:
            show(message, *args, **kwargs)

    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("always", message=NOT_DETERMINISTIC)
        warnings.showwarning = collect
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
