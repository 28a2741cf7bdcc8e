"""Device selection, peak memory and deterministic algorithms."""

import os
import re
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vsrbench.core.errors import InputError

_DETERMINISTIC: Any = torch.utils.deterministic  # a module with a property, which its types do not show

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


def allow_tf32(allowed: bool) -> None:
    """Let float32 products on a GPU use TF32, with a 10-bit mantissa; by default, convolutions do."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Call `allow_tf32` for the block, which has no effect where the device has no TF32, as on the CPU."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    allow_tf32(allowed)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Compute the products of a forward pass in one of `core.config.PRECISIONS`; bfloat16 is autocast.

    A backward pass computes in the types of its forward pass, but needs `tf32` around it for TF32.
    """
    with tf32(precision == "tf32"), torch.autocast(device.type, torch.bfloat16, precision == "bfloat16"):
        yield


class DeviceValues:
    """Scalars of a device on their way to the host, which need not wait for what is computed after them."""

    def __init__(self, *values: Tensor):
        stacked = torch.stack([value.detach().float() for value in values])
        self._host = stacked.to("cpu", non_blocking=True)  # pinned memory, if from a GPU
        self._arrived = None
        if stacked.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[float]:
        """Wait for the values and return them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[float] = self._host.tolist()
        return values


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
def deterministic(device: torch.device, names: set[str], enabled: bool = True) -> Iterator[None]:
    """Use deterministic algorithms where they exist; add the operations that have none to `names`.

    Attention uses the unfused backend: the gradients of the fused ones are not deterministic, and with few,
    long tokens (320 of 4096 values) the matrix of weights takes little memory. On the CPU all operations are
    deterministic anyway; there, and if not `enabled`, nothing is changed.
    """
    if device.type != "cuda" or not enabled:
        yield
        return
    # Matrix products need it; read when the first of them is called.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
        filling = _DETERMINISTIC.fill_uninitialized_memory
        _DETERMINISTIC.fill_uninitialized_memory = False  # no memory is read before it is written
        try:
            yield
        finally:
            _DETERMINISTIC.fill_uninitialized_memory = filling
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
