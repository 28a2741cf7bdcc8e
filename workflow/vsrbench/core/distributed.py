"""The processes that share one training: one by hand, several under `torchrun`."""

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
    """This process's place among those that train together."""

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None  # for words between processes, on the CPU

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, with its gradients averaged over all processes in the backward pass.

        So a loss that is a sum over the global batch must be multiplied by `world_size` first. (The released
        code does not: its gradient is the mean over 8 devices of sums over 4 windows, an eighth of this one,
        which Adam's scale-free step cancels.)
        """
        if self.world_size == 1:
            return network
        device_ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=device_ids, broadcast_buffers=False)

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all processes; all get the same."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return total.tolist()

    def wait(self) -> None:
        """Go on when every process has come here, however long one of them takes."""
        self.sum(0.0)


@contextmanager
def join(device: str | None, batch_size: int) -> Iterator[Group]:
    """The group that `torchrun` describes in the environment, or this process alone.

    `device` is a name for `choose_device`. Raises InputError where the processes cannot share the batch
    evenly.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if batch_size % world_size:
        raise InputError(
            f"training.batch_size {batch_size} cannot be shared evenly by {world_size} processes; "
            "start a number of them that divides it"
        )
    target = choose_device(device)
    if world_size == 1:
        yield Group(rank=0, world_size=1, device=target)
        return
    dist.init_process_group("nccl" if target.type == "cuda" else "gloo")
    try:
        # One process may wait for a lock or write a checkpoint for long; a dead one is torchrun's to notice.
        control = dist.new_group(backend="gloo", timeout=timedelta(days=30))
        yield Group(rank, world_size, target, control)
    finally:
        dist.destroy_process_group()
