"""Measure the training speed of this device: a few steps of the full model on random frames."""

import time
from dataclasses import dataclass, replace
from math import ceil

import torch

from models import build_model
from vsrbench.core.config import Variant
from vsrbench.core.device import computing_in, deterministic, tf32
from vsrbench.orchestration.operation_count import training_cost
from vsrbench.training.losses import charbonnier

STEPS = 3  # timed at each size, after one to warm up
SMALLEST = 8  # LQ pixels, the smallest crop that a network takes
LONGEST_STEP = 5.0  # seconds; batches that would take longer are not tried


@dataclass(frozen=True)
class Calibration:
    """The measured speed and memory of training steps, and their setting."""

    device: str
    crop: int  # LQ pixels
    windows: int  # per batch
    rate: float  # operations per second
    memory_ratio: float  # measured peak memory divided by the counted one; 1 if not measured

    def hours(self, operations: float) -> float:
        """Convert operations to hours at the measured rate."""
        return operations / self.rate / 3600


def calibrate(variant: Variant, gpus: int, device: torch.device) -> Calibration:
    """Time training steps of increasing size, up to one GPU's share of the batch.

    Stops earlier at batches that would exceed LONGEST_STEP or the free memory of the GPU; the result is that
    of the largest batch.
    """
    model, share = variant.model, max(1, variant.training.batch_size // gpus)
    edge = max(SMALLEST, model.feat_size // 4)
    small = min(model.feat_size, model.patch_size * ceil(edge / model.patch_size))
    sizes = [(small, 1), *((model.feat_size, 2**power) for power in range(share.bit_length()))]
    best: Calibration | None = None
    for crop, windows in sizes:
        sized = replace(variant, model=replace(model, feat_size=crop))
        cost = training_cost(sized)
        if best and (
            windows * cost.operations / best.rate > LONGEST_STEP
            or 1.2 * best.memory_ratio * cost.peak_bytes(windows) > _free(device)
        ):
            break
        seconds, peak = _measure(sized, windows, device)
        best = Calibration(
            device=_name(device),
            crop=crop,
            windows=windows,
            rate=windows * cost.operations / seconds,
            memory_ratio=peak / cost.peak_bytes(windows) if peak else 1,
        )
    assert best is not None  # the first size is always measured
    return best


def _measure(variant: Variant, windows: int, device: torch.device) -> tuple[float, int]:
    """Measure the seconds of a training step, and the peak memory in bytes (0 on a CPU)."""
    model, training = variant.model, variant.training
    network = build_model(model).to(device)
    network.activation_checkpointing = training.activation_checkpointing
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    lq = torch.rand(windows, model.num_frames, 3, model.feat_size, model.feat_size, device=device)
    gt = torch.rand(windows, model.num_frames, 3, 4 * model.feat_size, 4 * model.feat_size, device=device)
    flows = (lq[:, :, :2], lq[:, :, :2]) if model.flow_source == "oracle" else None
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    with deterministic(device, set(), training.deterministic), tf32(training.precision == "tf32"):
        for step in range(1 + STEPS):
            if step == 1:
                start = _now(device)
            with computing_in(training.precision, device):
                loss = charbonnier(network(lq, flows), gt)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        seconds = (_now(device) - start) / STEPS
    return seconds, torch.cuda.max_memory_allocated(device) if cuda else 0


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _free(device: torch.device) -> float:
    """Free memory in bytes; unlimited on a CPU, where LONGEST_STEP bounds the batch first."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
