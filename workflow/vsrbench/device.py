"""The device that computes: which one, how much memory it took, and the same bits every time."""

import os
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vsrbench.errors import InputError

NO_DETERMINISTIC_FORM = "does not have a deterministic implementation"


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
def deterministic(device: torch.device) -> Iterator[set[str]]:
    """Use the deterministic form of every operation that has one; the set collects those that have none.

    The CPU's operations are deterministic as they are.
    """
    names: set[str] = set()
    if device.type != "cuda":
        yield names
        return
    show = warnings.showwarning

    def collect(message, *args, **kwargs):
        if NO_DETERMINISTIC_FORM in str(message):
            names.add(str(message).split()[0])
        else:
            show(message, *args, **kwargs)

    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=f".*{NO_DETERMINISTIC_FORM}")
        warnings.showwarning = collect
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield names
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
