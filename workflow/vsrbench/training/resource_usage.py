"""Resource accounting of a run: device time, machines and energy."""

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
    """Resources that a run has used over all attempts up to the last checkpoint.

    Call `record_machine` once before `update`.
    """

    device_seconds: float = 0.0  # summed over processes
    energy_joules: float | None = None
    machines: list[dict[str, str | int]] = field(default_factory=list)

    def record_machine(self, group: Group) -> None:
        """Record what bit-exact results depend on, and warn if it differs from the previous attempt."""
        machine: dict[str, str | int] = {
            "device": device_name(group.device),
            "processes": group.world_size,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
        if self.machines and machine != self.machines[-1] and group.rank == 0:
            logger.warning("resumed on %s, before on %s: not bit-exact", machine, self.machines[-1])
        if machine not in self.machines:
            self.machines.append(machine)
        self._mark = time.perf_counter(), energy_joules(group.device)

    def update(self, group: Group) -> None:
        """Add what all processes have used since the last call."""
        started, joules_before = self._mark
        now, joules = self._mark = time.perf_counter(), energy_joules(group.device)
        used = None if joules is None or joules_before is None else joules - joules_before
        seconds, joules_of_all = group.sum(now - started, used or 0.0)
        self.device_seconds += seconds
        if used is not None:
            self.energy_joules = (self.energy_joules or 0.0) + joules_of_all

    def facts(self) -> dict[str, Any]:
        """Return machines, device-hours and kWh for the provenance."""
        return {
            "machines": self.machines,
            "device_hours": round(self.device_seconds / 3600, 5),
            "energy_kwh": None if self.energy_joules is None else round(self.energy_joules / 3.6e6, 5),
        }


def energy_joules(device: torch.device) -> float | None:
    """Return the joules that a GPU has used since its driver was loaded; None on the CPU or without NVML."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        millijoules: int = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        return millijoules / 1000
    except pynvml.NVMLError:
        return None
