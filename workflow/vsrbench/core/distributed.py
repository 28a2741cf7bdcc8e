"""Data-parallel training: a single process, or several started by `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vsrbench.core.device import choose_device
from vsrbench.core.errors import InputError


@dataclass(frozen=True)
class Group:
    """The processes that train together, as seen by one of them."""

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None  # for messages between processes, on the CPU

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap the network so that the backward pass averages the gradients over all processes.

        A loss that is a sum over the global batch must therefore be multiplied by `world_size`. (The released
        code does not do so: its gradient is the mean over 8 devices of sums over 4 windows, an eighth of this
        one, which makes no difference to Adam, whose step does not depend on the gradient's scale.)
        """
        if self.world_size == 1:
            return network
        device_ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=device_ids, broadcast_buffers=False)

    def sum(self, *values: float) -> list[float]:
        """Sum each value over all processes; every process gets the same sums."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        sums: list[float] = total.tolist()
        return sums

    def wait(self) -> None:
        """Wait until every process has reached this call, without a timeout."""
        self.sum(0.0)


@contextmanager
def join(device: str | None, batch_size: int) -> Iterator[Group]:
    """Join the group that `torchrun` describes in the environment, or form one of this process alone.

    `device` is a name for `choose_device`. Raises InputError if the number of processes does not divide
    `batch_size`.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if batch_size % world_size:
        raise InputError(
            f"training.batch_size {batch_size} is not divisible by {world_size} processes; "
            "start a number of processes that divides it"
        )
    target = choose_device(device)
    if world_size == 1:
        yield Group(rank=0, world_size=1, device=target)
        return
    dist.init_process_group("nccl" if target.type == "cuda" else "gloo")
    try:
        # One process may wait for a lock or write a checkpoint for long; torchrun detects dead processes.
        control = dist.new_group(backend="gloo", timeout=timedelta(days=30))
        assert isinstance(control, dist.ProcessGroup)  # this process is a member
        yield Group(rank, world_size, target, control)
    finally:
        dist.destroy_process_group()
