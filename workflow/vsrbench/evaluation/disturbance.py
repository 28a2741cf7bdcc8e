"""Signs that a time was measured while the machine had other work, each with its bound.

Other work only ever adds time, and by any factor: a network of 22 ms was once measured as 3,831 ms.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

SCATTER = 0.25  # interquartile range of the repeats, relative to their median
IDLE = 0.1  # share of the time in which no thread of the process computed
QUEUED = 0.1  # share of the time for which a thread was ready but had no core


@dataclass(frozen=True)
class ProcessorUse:
    """Seconds that have passed, that the process computed (summed over threads), and that threads queued."""

    wall: float
    computing: float
    queued: dict[str, float]  # by thread; empty where the kernel does not count them

    @classmethod
    def now(cls) -> Self:
        """Read the clocks of this process; only differences have a meaning."""
        return cls(time.perf_counter(), time.process_time(), _queued())

    def since(self, before: Self) -> Self:
        """Return what was used after `before`."""
        queued = {name: delay - before.queued.get(name, 0.0) for name, delay in self.queued.items()}
        return type(self)(self.wall - before.wall, self.computing - before.computing, queued)


def why_disturbed(
    seconds: Sequence[float], use: ProcessorUse, *, on_cpu: bool, other_processes: int = 0
) -> str | None:
    """Say what disturbed a measurement; None if nothing is known to have.

    `seconds` are the repeats and `use` is of all of them together; `other_processes` computed on the GPU.
    At any number of threads one of them computes while the others wait for it, so that the processor time
    of an undisturbed network on the CPU is at least the wall time. Parallel work lasts as long as its slowest
    thread; therefore the one that queued longest counts.
    """
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    scatter, idle = (high - low) / middle, 1 - use.computing / use.wall
    queued = max(use.queued.values(), default=0.0) / use.wall
    signs = {
        f"repeats scatter by {scatter:.0%} of their median": scatter > SCATTER,
        f"did not compute for {idle:.0%} of the time": on_cpu and idle > IDLE,
        f"waited for a core for {queued:.0%} of the time": queued > QUEUED,
        f"other processes on the GPU: {other_processes}": other_processes > 0,
    }
    return "; ".join(sign for sign, seen in signs.items() if seen) or None


def count_other_processes(device: torch.device) -> int:
    """Count the processes besides this one that compute on a GPU; 0 on the CPU or without NVML.

    In a container, NVML may give this process another id; it is one of those listed, whatever its id.
    """
    if device.type != "cuda":
        return 0
    try:
        import pynvml
    except ImportError:
        return 0
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        processes = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        return max(0, len(processes) - 1)
    except pynvml.NVMLError:
        return 0


def _queued() -> dict[str, float]:
    """Seconds for which each thread of this process was ready but had no core, as Linux counts them."""
    queued = {}
    for task in Path("/proc/self/task").glob("*"):
        try:
            queued[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):  # the thread has ended, or the kernel does not count
            continue
    return queued
