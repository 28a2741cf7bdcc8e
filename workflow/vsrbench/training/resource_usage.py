"""What a run uses of its machines."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from vsrbench.core.device import device_name
from vsrbench.core.distributed import Group

logger = logging.getLogger("vsrbench")


@dataclass
class Usage:
    """What a run has used and where, over all its attempts up to the last checkpoint."""

    device_seconds: float = 0.0
    energy_joules: float | None = None
    machines: list[dict[str, str | int]] = field(default_factory=list)

    def note_machine(self, group: Group) -> None:
        """Remember what the bits may depend on, and say so when it changes on the way."""
        machine = {
            "device": device_name(group.device),
            "processes": group.world_size,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
        if self.machines and machine != self.machines[-1] and group.rank == 0:
            logger.warning("begun on %s, goes on on %s: not bit-equal", self.machines[-1], machine)
        if machine not in self.machines:
            self.machines.append(machine)
        self._mark = time.perf_counter(), energy_joules(group.device)

    def account(self, group: Group) -> None:
        """Add what all processes have used since the last call."""
        (before, joules_before), self._mark = self._mark, (time.perf_counter(), energy_joules(group.device))
        seconds, joules = self._mark
        measured = joules is not None and joules_before is not None
        seconds, joules = group.sum(seconds - before, joules - joules_before if measured else 0.0)
        self.device_seconds += seconds
        if measured:
            self.energy_joules = (self.energy_joules or 0.0) + joules

    def facts(self) -> dict[str, Any]:
        """For the provenance."""
        return {
            "machines": self.machines,
            "device_hours": round(self.device_seconds / 3600, 5),
            "energy_kwh": None if self.energy_joules is None else round(self.energy_joules / 3.6e6, 5),
        }


def energy_joules(device: torch.device) -> float | None:
    """Joules that a GPU has used since its driver was loaded; None without NVML or its Python package."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:
        return None
