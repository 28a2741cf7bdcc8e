"""What an output frame costs: milliseconds, memory, operations.

Timed is restoring a long video in its steady state: `inference.restore_clip` window after window, from 8-bit
frames in the computer's memory to 8-bit frames there, batch 1. What a window shares with the one before
(first features, flows) is not computed again, so as many windows as a window has frames go before those
that are counted and timed. A repeat is one window: one output frame where it is tiled, several of whole
frames, over which its time is divided.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch.utils.flop_counter import FlopCounterMode

from models import build_model
from models.config import ModelConfig
from models.vsr_transformer import VSRTransformer
from vsrbench.core.config import load_variant
from vsrbench.core.device import choose_device, peak_memory_gib, peak_rss_gib
from vsrbench.core.files import atomic_write
from vsrbench.core.provenance import code_digest, machine_card
from vsrbench.evaluation.inference import restore_clip

ENOUGH_REPEATS, LONG_ENOUGH = 20, 10.0  # repeats or seconds: either makes a median and quartiles
LEAST_REPEATS, MOST_REPEATS = 3, 200  # of the slowest network, and of the fastest
_WARM_UP = 0.1  # of the time for the repeats
_WINDOWS = 2 * MOST_REPEATS + 1  # with as many to warm up, and one to count operations


def measure_runtime(
    *,
    config: Path,
    sizes: list[tuple[int, int]],
    out: Path,
    mode: str = "tiled",
    tile_overlap: int | None = None,
    precision: str = "float32",
    budget_seconds: float = 10.0,
    device: str | None = None,
) -> None:
    """Time a resolved variant on low-quality frames of `sizes` (height, width), and write it as JSON.

    `budget_seconds` is the time for the repeats at one size, see `time_repeats`; how many were taken is
    recorded. Weights are random, which takes as long as trained ones. Nothing else should run on the device
    meanwhile; the machine's load is recorded.
    """
    machine, digest = machine_card(), code_digest("measure_runtime")
    variant = load_variant(config)
    device = choose_device(device)
    model = build_model(variant.model).eval().to(device)
    how = {"mode": mode, "tile_overlap": tile_overlap, "precision": precision}
    measurements = [
        {
            "variant": variant.variant,
            **measure(model, *size, **how, budget_seconds=budget_seconds),
            "machine": machine,
        }
        for size in sizes
    ]
    with atomic_write(out) as partial:
        record = {"measurements": measurements, "code_digest": digest}
        partial.write_text(json.dumps(record, indent=1) + "\n")


def measure(
    model: VSRTransformer, height: int, width: int, *, budget_seconds: float, mode: str, **options: Any
) -> dict[str, Any]:
    """Time, memory and operations of an output frame from low-quality frames of `height` x `width`.

    `mode` and the other options (`tile_overlap`, `precision`) are those of `inference.restore_clip`.
    `peak_memory_gib` is what tensors took on a GPU, None without one; `peak_rss_gib` the most that the
    process ever held. An operation is one multiplication or addition of a convolution or matrix product.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    frames_a_window = _frames_a_window(model.config, mode)
    video = _restore_video(model, height, width, mode=mode, **options)

    def restore_window() -> None:
        for _ in range(frames_a_window):
            next(video)

    for _ in range(model.config.num_frames):
        restore_window()
    with FlopCounterMode(display=False) as counter:
        restore_window()
    synchronise = torch.cuda.synchronize if device.type == "cuda" else _nothing
    time_repeats(restore_window, synchronise, budget_seconds=_WARM_UP * budget_seconds, enough=0)
    seconds = time_repeats(restore_window, synchronise, budget_seconds=budget_seconds)
    return {
        "height": height,
        "width": width,
        "mode": mode,
        **options,
        "latency_ms": _summarise(1000 * np.array(seconds) / frames_a_window),
        "peak_memory_gib": peak_memory_gib(device) if device.type == "cuda" else None,
        "peak_rss_gib": peak_rss_gib(),
        "parameters_m": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gflops_per_frame": counter.get_total_flops() / frames_a_window / 1e9,
    }


def time_repeats(
    step: Callable[[], None],
    synchronise: Callable[[], None],
    *,
    budget_seconds: float,
    enough: int = ENOUGH_REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds that each repeat of `step` takes until all its work is done.

    They go on for `budget_seconds`, and beyond until there are `enough` or LONG_ENOUGH seconds have passed;
    but there are at least LEAST_REPEATS (or `enough`, if that is less) and at most MOST_REPEATS. A device may
    only have been told what to do when `step` returns: `synchronise` waits until it has done so, before the
    clock is read.
    """
    synchronise()
    seconds: list[float] = []
    begin = clock()
    while _is_short(len(seconds), clock() - begin, budget_seconds, enough):
        start = clock()
        step()
        synchronise()
        seconds.append(clock() - start)
    return seconds


def _is_short(repeats: int, elapsed: float, budget_seconds: float, enough: int) -> bool:
    """Whether another repeat is to be taken."""
    if repeats < min(enough, LEAST_REPEATS):
        return True
    wanted = elapsed < budget_seconds or (repeats < enough and elapsed < LONG_ENOUGH)
    return wanted and repeats < MOST_REPEATS


def _nothing() -> None:
    """The CPU has done its work when a call returns."""


def _frames_a_window(config: ModelConfig, mode: str) -> int:
    """Output frames of a window inside a clip; see `tiling`."""
    return 1 if mode == "tiled" else config.num_frames - 2 * (config.num_frames // 4)


def _restore_video(
    model: VSRTransformer, height: int, width: int, *, mode: str, **options: Any
) -> Iterator[np.ndarray]:
    """Restored frames of a long video, from a frame on that has all its neighbours."""
    num_frames = model.config.num_frames
    first = num_frames if mode == "tiled" else num_frames - num_frames // 4  # where the second window begins
    frames = range(first, first + (num_frames + _WINDOWS) * _frames_a_window(model.config, mode))
    # One frame over and over, at no cost in memory: what is timed does not depend on what it shows.
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    length = frames.stop + num_frames
    lq = np.broadcast_to(frame, (length, *frame.shape))
    flow = as_strided(np.full(1, 0.5, np.float32), (length, 2, height, width), (0, 0, 0, 0))
    return restore_clip(model, lq, mode=mode, flows=(flow, flow), frames=frames, **options)


def _summarise(milliseconds: np.ndarray) -> dict[str, float | int]:
    low, middle, high = np.percentile(milliseconds, (25, 50, 75))
    return {"median": middle, "q25": low, "q75": high, "repeats": len(milliseconds)}
