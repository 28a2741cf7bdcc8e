"""Measure the cost of an output frame: latency, memory and operations.

The steady state of restoring a long video is timed: `inference.restore_clip` window after window, at batch
size 1, from uint8 frames in host memory to uint8 frames in host memory. Since a window reuses features and
flows of the previous one, as many windows as a window has frames run before any is counted or timed. A
repeat is one window, or a clip of CLIP frames for a network that restores whole clips. It yields one output
frame if tiled and several if not; its time is divided by them.

A measurement that other work disturbed (see `disturbance`) is repeated, and marked if that does not help.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch.utils.flop_counter import FlopCounterMode

from models import build_model
from models.config import NetworkConfig
from models.network import Network
from vsrbench.core.config import load_variant
from vsrbench.core.device import choose_device, peak_memory_gib, peak_rss_gib
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import code_digest, machine_card
from vsrbench.evaluation.disturbance import ProcessorUse, count_other_processes, why_disturbed
from vsrbench.evaluation.inference import RestoreOptions, describe_method, restore_clip, to_frame

logger = logging.getLogger("vsrbench")

ENOUGH_REPEATS, LONG_ENOUGH = 20, 10.0  # repeats or seconds, either of which gives a median and quartiles
MIN_REPEATS, MAX_REPEATS = 3, 200  # reached by the slowest and the fastest networks
CLIP = 15  # frames of the clips over which a network for whole clips is timed
MAX_ATTEMPTS = 3  # at an undisturbed measurement
_WARM_UP = 0.1  # share of the time for the repeats


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
    """Time a resolved variant on frames of `sizes` (height, width) in LQ pixels; write JSON to `out`.

    `budget_seconds` is the time for the repeats at one size (see `time_repeats`), whose number is recorded.
    The weights are random, which does not affect the time. Nothing else should run on the device meanwhile;
    the machine's load is recorded, and a measurement that stays disturbed is marked. Raises InputError if the
    network cannot restore frames of a size.
    """
    made = origin("measure_runtime", config)
    machine, digest = machine_card(), code_digest("measure_runtime")
    variant = load_variant(config)
    model = build_model(variant.model).eval().to(choose_device(device))
    options = RestoreOptions(mode, tile_overlap, precision)
    measurements = [
        {
            "variant": variant.variant,
            **measure(model, height, width, options, budget_seconds=budget_seconds),
            "machine": machine,
        }
        for height, width in sizes
    ]
    for found in measurements:
        if found["disturbed"]:
            logger.warning(
                "%s: %d x %d is marked as disturbed in each of %d attempts (%s); delete the file and "
                "measure again on an idle machine",
                *(out, found["height"], found["width"], MAX_ATTEMPTS, found["disturbed"]),
            )
    with atomic_write(out) as partial:
        record = {"measurements": measurements, "code_digest": digest}
        partial.write_text(json.dumps(record, indent=1) + "\n")
    made.record(out)


def measure(
    model: Network, height: int, width: int, options: RestoreOptions, *, budget_seconds: float
) -> dict[str, Any]:
    """Measure time, memory and operations of an output frame, for frames of `height` x `width` LQ pixels.

    Returns size and options, and `latency_ms` (median, quartiles and number of repeats, per output frame);
    `peak_memory_gib`, allocated by tensors on the GPU (None on a CPU); `peak_rss_gib`, the peak resident set
    size of the process; `parameters_m`, in millions; `gflops_per_frame`, where a multiplication and an
    addition of a convolution or matrix product count as one operation each; `attempts` at the time, and
    `disturbed`, what disturbed the one that counts, or None.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    frames_per_window = _frames_per_window(model.config, options.mode)
    video = _restore_video(model, height, width, options)

    def restore_window() -> None:
        for _ in range(frames_per_window):
            next(video)

    for _ in range(1 if model.config.protocol == "clip" else model.config.num_frames):
        restore_window()
    with FlopCounterMode(display=False) as counter:
        restore_window()
    synchronise = torch.cuda.synchronize if device.type == "cuda" else _nothing
    time_repeats(restore_window, synchronise, budget_seconds=_WARM_UP * budget_seconds, enough=0)

    def attempt() -> Timing:
        before = ProcessorUse.now()
        seconds = time_repeats(restore_window, synchronise, budget_seconds=budget_seconds)
        use, others = ProcessorUse.now().since(before), count_other_processes(device)
        disturbed = why_disturbed(seconds, use, on_cpu=device.type == "cpu", other_processes=others)
        return Timing(1000 * np.array(seconds) / frames_per_window, disturbed)

    timing, attempts = time_undisturbed(attempt)
    return {
        "height": height,
        "width": width,
        **describe_method(model.config, options),
        "latency_ms": _summarise(timing.milliseconds),
        "disturbed": timing.disturbed,
        "attempts": attempts,
        "peak_memory_gib": peak_memory_gib(device) if device.type == "cuda" else None,
        "peak_rss_gib": peak_rss_gib(),
        "parameters_m": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gflops_per_frame": counter.get_total_flops() / frames_per_window / 1e9,
    }


@dataclass(frozen=True)
class Timing:
    """The repeats of one attempt, in ms per output frame, and what disturbed it, if anything."""

    milliseconds: np.ndarray
    disturbed: str | None


def time_undisturbed(attempt: Callable[[], Timing]) -> tuple[Timing, int]:
    """Repeat `attempt` until nothing disturbs it, at most MAX_ATTEMPTS times; return it and their number.

    If each was disturbed, the fastest counts, since other work only adds time.
    """
    timings: list[Timing] = []
    while len(timings) < MAX_ATTEMPTS:
        timings.append(attempt())
        if timings[-1].disturbed is None:
            return timings[-1], len(timings)
    return min(timings, key=lambda timing: float(np.median(timing.milliseconds))), len(timings)


def time_repeats(
    step: Callable[[], None],
    synchronise: Callable[[], None],
    *,
    budget_seconds: float,
    enough: int = ENOUGH_REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time repeats of `step`, in seconds each.

    Repeats for `budget_seconds`, and longer until there are `enough` repeats or LONG_ENOUGH seconds have
    passed; always at least MIN_REPEATS (or `enough`, if fewer) and at most MAX_REPEATS. Since a GPU runs
    asynchronously, `synchronise` waits for it before `clock`, in seconds, is read.
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
    """Whether another repeat is needed."""
    if repeats < min(enough, MIN_REPEATS):
        return True
    wanted = elapsed < budget_seconds or (repeats < enough and elapsed < LONG_ENOUGH)
    return wanted and repeats < MAX_REPEATS


def _nothing() -> None:
    """Synchronise with the CPU, which is synchronous."""


def _frames_per_window(config: NetworkConfig, mode: str) -> int:
    """Return the number of output frames of a window inside a clip, see `tiling`, or of a whole clip."""
    if config.protocol == "clip":
        return CLIP
    return 1 if mode == "tiled" else config.num_frames - 2 * (config.num_frames // 4)


def _restore_video(model: Network, height: int, width: int, options: RestoreOptions) -> Iterator[np.ndarray]:
    """Yield the restored frames of a long video, starting where a frame has all its neighbours."""
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if model.config.protocol == "clip":
        clip = np.broadcast_to(frame, (CLIP, *frame.shape))
        return map(to_frame, chain.from_iterable(restore_clip(model, clip, options) for _ in count()))
    num_frames, mode = model.config.num_frames, options.mode
    first = num_frames if mode == "tiled" else num_frames - num_frames // 4  # where the second window begins
    windows = num_frames + (MAX_ATTEMPTS + 1) * MAX_REPEATS + 1  # timed, warm-up, and one to count operations
    frames = range(first, first + windows * _frames_per_window(model.config, mode))
    # A view that repeats one frame takes no memory; the time does not depend on the content.
    length = frames.stop + num_frames
    lq = np.broadcast_to(frame, (length, *frame.shape))
    flow = as_strided(np.full(1, 0.5, np.float32), (length, 2, height, width), (0, 0, 0, 0))
    return map(to_frame, restore_clip(model, lq, options, flows=(flow, flow), frames=frames))


def _summarise(milliseconds: np.ndarray) -> dict[str, float | int]:
    low, middle, high = np.percentile(milliseconds, (25, 50, 75))
    return {"median": middle, "q25": low, "q75": high, "repeats": len(milliseconds)}
