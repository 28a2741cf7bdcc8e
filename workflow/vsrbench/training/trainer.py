"""Training loop with bit-exact resume after interruption.

All random numbers are drawn from the seed and the iteration, so a checkpoint (network, optimiser, average,
log) determines the rest of the run. The weights are bit-exact for the same device model, number of threads
and libraries; the provenance records those, and operations that have no deterministic implementation.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vsrbench.core.config import TrainingConfig
from vsrbench.core.device import (
    DeviceValues,
    computing_in,
    deterministic,
    device_name,
    peak_memory_gib,
    tf32,
)
from vsrbench.core.distributed import Group, join
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, remove_partials
from vsrbench.core.lineage import Origin, origin
from vsrbench.core.provenance import begin, write_provenance
from vsrbench.data.prefetch import prefetch
from vsrbench.training.checkpoint import (
    check_attempt,
    claim_attempt,
    list_checkpoints,
    load_latest,
    room_for_checkpoints,
    save_checkpoint,
)
from vsrbench.training.lr_schedule import learning_rate
from vsrbench.training.preemption import StopRequest, resume_later
from vsrbench.training.resource_usage import Usage
from vsrbench.training.run_lock import HeldLock, lock_run
from vsrbench.training.training_log import RunLog

logger = logging.getLogger("vsrbench")


class Task(Protocol):
    """A network with its data and loss."""

    values_per_iteration: int  # number of values that the loss of a global batch sums over

    @property
    def network(self) -> nn.Module:
        """The network to train."""

    def batch(self, iteration: int, rank: int, world_size: int) -> dict[str, Tensor]:
        """Read this process's share of an iteration's batch; called in background threads."""

    def describe(self, iteration: int) -> str:
        """Describe the origin of the global batch, for messages."""

    def set_trainable(self, iteration: int) -> bool:
        """Freeze or unfreeze parameters for this iteration; return whether any changed."""

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Sum the loss over a batch; `network` is this task's network, possibly wrapped."""

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Compute scores on a fixed subset, by name."""


def fit(
    task: Task,
    config: TrainingConfig,
    *,
    seed: int,
    out: Path,
    step: str,
    identity: dict[str, Any],
    sources: Sequence[Path | None] = (),
    on_nonfinite: str = "stop",
    device: str | None = None,
    workers: int | None = None,
) -> None:
    """Train `task.network`; write `out`, and `train.jsonl`, `provenance.json` and checkpoints to its folder.

    Resumes from the last complete checkpoint there, if it has the same `identity`. On SIGTERM, SIGUSR1 and
    SIGINT it finishes the step, saves and exits with `preemption.RESUME_LATER`. `step` is a key of
    `provenance.STEPS`, `sources` are the files behind `task`. `on_nonfinite` says what to do if the loss or
    gradient is not finite: "stop" or "skip" the iteration. `device` is a name for `choose_device`; `workers`
    threads read batches, by default as many as there are cores but one.

    Raises InputError if the loss is not finite (unless skipped), the memory of a GPU or the disk is full, the
    folder cannot be written, or it holds an unfinished training with another identity.
    """
    begun, made = begin(step), origin(step, *sources)
    with (
        StopRequest() as stop,
        join(device, config.batch_size) as group,
        _lock(out.parent, group, stop) as lock,
    ):
        trainer = Trainer(task, config, seed, out, identity, group, on_nonfinite)
        with room_for_checkpoints(trainer.checkpoints, trainer.checkpoint_bytes()):
            if lock is not None:
                trainer.attempt = claim_attempt(trainer.checkpoints)
            trainer.resume()
            finished = trainer.train(stop, lock, workers or _default_workers())
            if finished and lock is not None:
                trainer.finish(begun, made, attempts=lock.owner.attempt)
            group.wait()
        if not finished:
            resume_later(requeue=group.rank == 0)


@dataclass(frozen=True)
class _Step:
    """An iteration whose values the device may still be computing."""

    iteration: int
    values: DeviceValues  # this process's share of the loss, and the norm of the gradient


class Trainer:
    """The state of one training in this process: its tensors, progress and log."""

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        seed: int,
        out: Path,
        identity: dict[str, Any],
        group: Group,
        on_nonfinite: str,
    ):
        self.task, self.config, self.seed, self.identity, self.group = task, config, seed, identity, group
        self.on_nonfinite = on_nonfinite
        self.out, self.checkpoints = out, out.parent / "checkpoints"
        self.attempt: Path | None = None  # in the first process, the folder of this attempt's checkpoints
        self.network = task.network.to(group.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), config.learning_rate, config.betas, fused=True
        )
        self.average = None
        if config.ema_decay is not None:
            self.average = deepcopy(self.network).requires_grad_(False)
            self.add_to_average = get_ema_multi_avg_fn(config.ema_decay)
        if config.compile:
            self.network.compile()
        self.log = RunLog(out.parent / "train.jsonl" if group.rank == 0 else None, config.iterations)
        self.usage = Usage()
        self.iteration = 0  # the last completed iteration
        self.unread: deque[_Step] = deque()  # completed, but for a look at their values
        self.stopping = False  # whether a process was asked to stop
        self.updates = 0
        self.skipped: list[int] = []
        windows = config.batch_size // group.world_size
        self.micro_batch = config.micro_batch if isinstance(config.micro_batch, int) else windows
        self.nondeterministic: set[str] = set()

    def checkpoint_bytes(self) -> int:
        """Estimate the bytes of a checkpoint: weights, two moments, and an average or the result."""
        state_bytes: int = sum(values.nbytes for values in self.network.state_dict().values())
        return 4 * state_bytes

    def resume(self) -> None:
        """Load the last intact checkpoint, if there is one."""
        state = load_latest(self.checkpoints, self.identity)
        self.group.wait()  # all processes must have read before one writes
        if state is not None:
            self.iteration, self.updates, self.skipped = (
                state[key] for key in ("iteration", "updates", "skipped")
            )
            self.nondeterministic.update(state["nondeterministic"])
            self.micro_batch = state["micro_batch"]
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(_in_memory(state["optimizer"]))
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.usage = Usage(**state["usage"])
        self.usage.record_machine(self.group)
        self.log.open(state and state["log"], self.iteration)

    def train(self, stop: StopRequest, lock: HeldLock | None, workers: int) -> bool:
        """Run the remaining iterations; return False if stopped by a signal before the last one.

        `lock` is the lock of the run directory, None in processes other than the first.
        """
        task, config, group = self.task, self.config, self.group
        iterations = range(self.iteration + 1, config.iterations + 1)
        task.set_trainable(iterations.start)
        network = group.parallel(self.network)
        end = time.perf_counter()
        with (
            closing(self.log),
            deterministic(group.device, self.nondeterministic, config.deterministic),
            closing(prefetch(self._read, iterations, workers)) as batches,
        ):
            for iteration in iterations:
                batch = {
                    key: values.to(group.device, non_blocking=True) for key, values in next(batches).items()
                }
                waiting = time.perf_counter() - end

                if task.set_trainable(iteration):
                    network = group.parallel(self.network)
                rate = learning_rate(config, iteration)
                loss, norm = self._gradients(network, batch, iteration)
                self.unread.append(_Step(iteration, DeviceValues(loss, norm)))
                if self.on_nonfinite == "skip":  # whether there is an update depends on the values
                    self._read_values(stop, leave=0)
                if iteration not in self.skipped:
                    self._update(rate, norm)
                self.iteration = iteration
                validating, logging_, saving = (
                    iteration == config.iterations or iteration % interval == 0
                    for interval in (
                        config.validation_interval,
                        config.log_interval,
                        config.checkpoint_interval,
                    )
                )
                # A device that is asked for the values of the step before need not stop computing this one.
                self._read_values(stop, leave=0 if validating or logging_ or saving else 1)
                if lock is not None:
                    lock.check()

                scores = self._validate() if validating else {}
                start, end = end, time.perf_counter()
                self.log.time(end - start, waiting)
                if validating or logging_:
                    self.log.write_interval(iteration, rate, peak_memory_gib(group.device), scores)
                if saving or self.stopping:
                    self._save(lock)
                if self.stopping:
                    break
        return self.iteration == config.iterations

    def finish(self, begun: dict[str, Any], made: Origin, attempts: int) -> None:
        """Write and record the results; the weights come last. `attempts` counts the starts of the run."""
        if self.attempt is not None:
            check_attempt(self.attempt)
        provenance, log = (self.out.parent / name for name in ("provenance.json", "train.jsonl"))
        write_provenance(
            provenance,
            begun,
            seed=self.seed,
            learning_rate=self.config.learning_rate,
            identity=self.identity,
            attempts=attempts,
            iterations=self.iteration,
            skipped_iterations=self.skipped,
            micro_batch=self.micro_batch,
            nondeterministic_operations=sorted(self.nondeterministic),
            result=self.log.last(),
            **self.usage.facts(),
        )
        with atomic_write(self.out) as partial:
            weights = self._result().state_dict()
            partial.write_bytes(save({name: values.cpu().contiguous() for name, values in weights.items()}))
        made.record(provenance, log, self.out)

    def _read(self, iteration: int) -> dict[str, Tensor]:
        batch = self.task.batch(iteration, self.group.rank, self.group.world_size)
        if self.group.device.type == "cuda":
            batch = {key: values.pin_memory() for key, values in batch.items()}
        return batch

    def _gradients(
        self, network: nn.Module, batch: dict[str, Tensor], iteration: int
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the global batch; return this process's loss and the gradients' norm."""
        while (loss := self._accumulate(network, batch, iteration)) is None:
            self.micro_batch = -(-self.micro_batch // 2)
            logger.warning(
                "%s: out of memory at iteration %d; going on with a micro-batch of %d",
                *(self.out.parent, iteration, self.micro_batch),
            )
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        return loss, get_total_norm(gradients)

    def _accumulate(self, network: nn.Module, batch: dict[str, Tensor], iteration: int) -> Tensor | None:
        """Add up the gradients of `micro_batch` windows at a time; None if they did not fit into memory."""
        torch.manual_seed(self.seed * 2**32 + iteration)  # for random operations of the network
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        parts = list(zip(*(values.split(self.micro_batch) for values in batch.values()), strict=True))
        try:
            for part in parts:
                with tf32(self.config.precision == "tf32"), self._averaging(network, part is parts[-1]):
                    with computing_in(self.config.precision, self.group.device):
                        loss = self.task.loss(network, dict(zip(batch, part, strict=True)))
                    (loss * self.group.world_size).backward()
                losses.append(loss.detach())
        except torch.OutOfMemoryError:
            # Other processes would wait for the gradients of one that starts over.
            if self.config.micro_batch != "auto" or self.micro_batch == 1 or self.group.world_size > 1:
                raise InputError(
                    f"{self.out.parent}: a micro-batch of {self.micro_batch} does not fit into the memory of "
                    f"{device_name(self.group.device)}; {self._smaller()}"
                ) from None
            return None
        return torch.stack(losses).sum()

    def _smaller(self) -> str:
        """Advise what takes less memory."""
        if self.micro_batch > 1:
            return (
                f"set training.micro_batch to {-(-self.micro_batch // 2)} or less, or to auto on one device"
            )
        return "set training.activation_checkpointing: true, or use a larger device"

    def _averaging(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Let several processes average their gradients with the last part of a batch only."""
        if last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        return network.no_sync()

    def _read_values(self, stop: StopRequest, leave: int) -> None:
        """Look at the values of completed steps, the oldest first, but the last `leave`; none if stopping."""
        while len(self.unread) > (0 if self.stopping else leave):
            step = self.unread.popleft()
            loss, norm = step.values.read()
            loss, stopping = self.group.sum(loss, bool(stop))
            self.stopping = bool(stopping)
            if isfinite(loss) and isfinite(norm):
                self.log.step(loss / self.task.values_per_iteration, norm)
            else:
                self._refuse(step.iteration, loss, norm)

    def _update(self, rate: float, norm: Tensor) -> None:
        if self.config.gradient_clip is not None:
            clip_grads_with_norm_(self.network.parameters(), self.config.gradient_clip, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.average is not None:
            averaged, current = (list(network.parameters()) for network in (self.average, self.network))
            with torch.no_grad():
                if self.updates:
                    self.add_to_average(averaged, current, self.updates)
                else:
                    self.average.load_state_dict(self.network.state_dict())
        self.updates += 1

    def _refuse(self, iteration: int, loss: float, norm: float) -> None:
        """Raise InputError at, or record and skip, an iteration whose loss or gradient is not finite."""
        batch = self.task.describe(iteration)
        if self.on_nonfinite == "skip":
            self.skipped.append(iteration)
            self.log.write({"iteration": iteration, "skipped": batch})
            return
        checkpoints = [path.name for path in list_checkpoints(self.checkpoints)]
        raise InputError(
            f"{self.out.parent}: loss {loss}, gradient norm {norm} at iteration {iteration} ({batch}); last "
            f"good checkpoint: {checkpoints[0] if checkpoints else 'none'}; lower training.learning_rate, "
            "set training.gradient_clip, or continue with --on-nonfinite skip"
        )

    def _validate(self) -> dict[str, float]:
        scores = {}
        if self.group.rank == 0:
            with torch.no_grad():
                scores = self.task.validate(self._result(), self.group.device)
        self.group.wait()
        return scores

    def _result(self) -> nn.Module:
        return self.network if self.average is None else self.average

    def _save(self, lock: HeldLock | None) -> None:
        """Save a checkpoint: all processes report their usage; the first, which has the lock, writes it."""
        self.usage.update(self.group)
        if lock is not None:
            state = {
                "identity": self.identity,
                "finished": self.iteration == self.config.iterations,
                "iteration": self.iteration,
                "updates": self.updates,
                "skipped": self.skipped,
                "nondeterministic": sorted(self.nondeterministic),
                "micro_batch": self.micro_batch,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "usage": asdict(self.usage),
                "log": self.log.state(),
            }
            lock.check()  # validation may take long, and saving would delete a new owner's checkpoints
            save_checkpoint(self.checkpoints, self.iteration, state, self.attempt)
        self.group.wait()


@contextmanager
def _lock(run: Path, group: Group, stop: StopRequest) -> Iterator[HeldLock | None]:
    """Lock the run directory in the first process, for all; exit if a signal arrives while waiting for it."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        open(run / "lock", "a").close()
    except OSError as error:
        raise InputError(f"{run}: cannot be written ({error.strerror})") from None
    with lock_run(run, give_up=lambda: bool(stop)) if group.rank == 0 else nullcontext() as lock:
        if group.sum(group.rank == 0 and lock is None)[0]:
            resume_later(requeue=group.rank == 0)
        if lock is not None:
            remove_partials(run)
        yield lock


def _default_workers() -> int:
    """Cores that this process may use, but one, which the training itself keeps busy; at most eight."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(8, cores - 1))


def _in_memory(state: dict[str, Any]) -> dict[str, Any]:
    """Copy an optimiser's tensors, which on the CPU would otherwise stay parts of the mapped file."""
    moments = {
        index: {name: value.clone() for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": moments}
