"""The device that computes: which one, how much memory it took, and the same bits every time."""

import os
import re
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vsrbench.core.errors import InputError

# In torch's words, with the operation's name before them; fused attention has a second form of saying so.
NOT_DETERMINISTIC = "(.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic)"


def choose_device(name: str | None = None) -> torch.device:
    """The device cpu, cuda or cuda:<number>; without a name a GPU where there is one, else the CPU.

    "cuda" is this process's own among those that `torchrun` starts on a machine. Raises InputError for any
    other name, and where that GPU is not to be had.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return torch.device(name)
    if kind != "cuda" or bool(colon) != number.isdecimal():
        raise InputError(f"device {name}: is neither cpu, cuda nor cuda:<number>")
    index = int(number or os.environ.get("LOCAL_RANK", 0))
    visible = torch.cuda.device_count()
    if index >= visible:
        raise InputError(
            f"device {name}: {visible} GPUs are visible, none is number {index}; "
            "start fewer processes or choose --device cpu"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def disable_tf32() -> None:
    """Compute float32 in full on a GPU; by default, convolutions there round to TF32, 10 bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = False


def device_name(device: torch.device) -> str:
    """A GPU's model, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def peak_rss_gib() -> float:
    """The most memory that the whole process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def peak_memory_gib(device: torch.device) -> float:
    """The most memory held at any time: by tensors on a GPU, by the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return peak_rss_gib()


@contextmanager
def deterministic(device: torch.device, names: set[str]) -> Iterator[None]:
    """Use the deterministic form of every operation that has one; add those that have none to `names`.

    Attention is written out: the gradient of its fused forms is not deterministic, and tokens are so few and
    long here (320 of 4096 values) that its matrix of weights takes no room. The CPU's operations are
    deterministic as they are.
    """
    if device.type != "cuda":
        yield
        return
    show = warnings.showwarning

    def collect(message, *args, **kwargs):
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
