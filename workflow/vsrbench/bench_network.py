"""How fast the network restores and trains, as ratios against the released procedure written out plainly.

`python -m vsrbench.bench_network [measure ...]` runs on the GPU if there is one. What is compared runs in
turns, since times on a shared machine drift; memory is measured in a process of its own. The weights are
random.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from models import ModelConfig, build_model
from models.vsr_transformer import VSRTransformer
from vsrbench.errors import InputError
from vsrbench.files import atomic_write
from vsrbench.inference import restore_clip, restore_values
from vsrbench.plain import plain_network, plain_tiled
from vsrbench.provenance import machine_card

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLIPS_A_STEP = {"cpu": 1, "cuda": 4}[DEVICE]  # the released code has four a GPU

Row = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """One way to do the work, and how many times as fast as the plain way it is to be."""

    precision: str = "float32"
    mode: str | None = None  # of restoring; a training step has none
    recompute: bool = False
    compiled: bool = False  # on a GPU only
    target: float | None = None


MEASURES = {
    "tiled_float32": Measure(mode="tiled", target=2.2),
    "tiled_bfloat16": Measure("bfloat16", mode="tiled", target=7),
    "tiled_bfloat16_compiled": Measure("bfloat16", mode="tiled", compiled=True),
    "whole_frame_float32": Measure(mode="whole_frame", target=12),
    "whole_frame_bfloat16": Measure("bfloat16", mode="whole_frame"),
    "whole_frame_bfloat16_compiled": Measure("bfloat16", mode="whole_frame", compiled=True),
    "step_float32": Measure(target=1.4),
    "step_bfloat16": Measure("bfloat16", target=2.5),
    "step_bfloat16_compiled": Measure("bfloat16", compiled=True),
    "step_float32_recompute": Measure(recompute=True),
    "step_bfloat16_recompute": Measure("bfloat16", recompute=True),
}
LONG_CLIP = "long_clip_memory"
FIRST = 4  # a frame far enough from the clip's start


def compare_restoring(names: list[str], size: tuple[int, int], rounds: int) -> Iterator[Row]:
    """Seconds for one more frame of a clip of noise, once the network is at it."""
    lq = np.random.default_rng(0).integers(0, 256, (3 * rounds + 16, *size, 3), dtype=np.uint8)
    windows = {"plain_tiled": _plain_windows(lq)} | {name: _windows(MEASURES[name], lq) for name in names}
    for restored in windows.values():
        next(restored)
    seconds = in_turns({name: partial(next, restored) for name, restored in windows.items()}, rounds)
    frames = {name: _frames_a_window(MEASURES[name]) for name in names}
    yield from _rows(seconds, "frame", frames)


def compare_steps(names: list[str], rounds: int) -> Iterator[Row]:
    """Seconds for a training step of the published network, and the peak of memory of each."""
    steps = {"plain_step": _steps(None)} | {name: _steps(MEASURES[name]) for name in names}
    for step in steps.values():
        next(step)
    seconds = in_turns({name: partial(next, step) for name, step in steps.items()}, rounds)
    for row in _rows(seconds, "step"):
        yield row | {"peak_gib": _in_own_process(_peak_of_steps, MEASURES.get(row["measure"]))}


def compare_clip_lengths(size: tuple[int, int]) -> Iterator[Row]:
    """Peak memory of restoring 20 and 1,000 whole frames by a narrow network; the clip itself takes none."""
    for length in (20, 1000):
        seconds, peak = _in_own_process(_peak_of_clip, size, length)
        yield {"measure": f"clip_of_{length}", "per": "frame", "seconds": seconds / length, "peak_gib": peak}


def in_turns(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round."""
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _rows(seconds: dict[str, list[float]], per: str, frames: dict[str, int] | None = None) -> Iterator[Row]:
    """The first candidate is the plain one; `frames` says how many a call restored, if not one."""
    plain = median(next(iter(seconds.values())))
    for name, taken in seconds.items():
        taken = [value / (frames or {}).get(name, 1) for value in taken]
        yield {
            "measure": name,
            "per": per,
            "seconds": median(taken),
            "fastest": min(taken),
            "slowest": max(taken),
            "ratio": plain / median(taken),
            "target": MEASURES[name].target if name in MEASURES else None,
        }


def _network(norm: str = "spatial_affine", **sizes: int) -> VSRTransformer:
    torch.manual_seed(0)
    return build_model(ModelConfig(norm=norm, **sizes)).to(DEVICE)


def _compile(model: VSRTransformer) -> None:
    for part in (model.extraction, model.spynet, *model.blocks, model.reconstruction):
        part.compile()


def _plain_windows(lq: np.ndarray) -> Iterator[None]:
    """A frame at a time; at first one tile, which warms up."""
    model = _network()
    size = model.config.feat_size
    network = partial(plain_network, model)
    for part in chain([lq[:, :size, :size]], repeat(lq)):
        with torch.no_grad():
            plain_tiled(network, model.config, part, FIRST, DEVICE)
        yield


def _windows(measure: Measure, lq: np.ndarray) -> Iterator[None]:
    """A window's frames at a time; at first twice, which warms up."""
    model = _network("channel" if measure.mode == "whole_frame" else "spatial_affine")
    if measure.compiled:
        _compile(model)
    frames = range(FIRST, len(lq))
    restored = restore_values(model, lq, mode=measure.mode, precision=measure.precision, frames=frames)
    while True:
        for _ in range(_frames_a_window(measure)):
            next(restored)
        yield


def _frames_a_window(measure: Measure) -> int:
    return 3 if measure.mode == "whole_frame" else 1


def _steps(measure: Measure | None) -> Iterator[None]:
    """Training steps on random clips; without a measure, of the plain network."""
    model = _network()
    forward = partial(plain_network, model)
    if measure is not None:
        forward, model.recompute = model, measure.recompute
        if measure.compiled:
            _compile(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.9, 0.99))
    lq = torch.rand(CLIPS_A_STEP, 5, 3, 64, 64, device=DEVICE)
    gt = torch.rand(CLIPS_A_STEP, 5, 3, 256, 256, device=DEVICE)
    autocast = measure is not None and measure.precision == "bfloat16"
    while True:
        with torch.autocast(DEVICE, torch.bfloat16, autocast):
            restored = forward(lq)
        loss = ((restored.float() - gt) ** 2 + 1e-12).sqrt().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield


def _in_own_process(call: Callable, *arguments: Any) -> Any:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(call, arguments)


def _peak_of_steps(measure: Measure | None) -> float:
    steps = _steps(measure)
    for _ in range(2):
        next(steps)
    return _peak_gib()


def _peak_of_clip(size: tuple[int, int], length: int) -> tuple[float, float]:
    """Seconds and peak for a still clip, whose frames are all one in memory."""
    narrow = dict(num_feat=8, flow_num_feat=8, depth=1)
    blocks = dict(num_extract_blocks=0, num_reconstruct_blocks=0, num_feed_forward_blocks=0)
    model = _network("channel", **narrow, **blocks)
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    lq = np.broadcast_to(frame, (length, *size, 3))
    start = time.perf_counter()
    for _ in restore_clip(model, lq, mode="whole_frame"):
        pass
    return time.perf_counter() - start, _peak_gib()


def _peak_gib() -> float:
    """The most memory that this process has held: on the GPU if there is one, else by the system's count."""
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    # Not resource.getrusage, whose peak a new process takes over from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20


def compare(
    measures: list[str] | None = None,
    *,
    size: tuple[int, int] = (180, 320),
    rounds: int = 3,
    out: Path | None = None,
) -> list[Row]:
    """Run measures, all by default, on low-quality frames of `size`; print them, and write them as CSV."""
    known = [name for name, measure in MEASURES.items() if DEVICE == "cuda" or not measure.compiled]
    chosen = measures or [*known, LONG_CLIP]
    if unknown := sorted(set(chosen) - {*known, LONG_CLIP}):
        raise InputError(
            f"bench: no measure {unknown[0]!r} on a {DEVICE}; there are {', '.join(known)}, {LONG_CLIP}"
        )
    restoring = [name for name in known if name in chosen and MEASURES[name].mode]
    steps = [name for name in known if name in chosen and not MEASURES[name].mode]
    print(json.dumps(machine_card()), flush=True)
    rows = []
    for wanted, measured in (
        (restoring, compare_restoring(restoring, size, rounds)),
        (steps, compare_steps(steps, rounds)),
        (LONG_CLIP in chosen, compare_clip_lengths(size)),
    ):
        for row in measured if wanted else ():
            rows.append(row)
            print(_line(row), flush=True)
    if out is not None:
        _write(rows, out)
    return rows


def _line(row: Row) -> str:
    parts = [f"{row['measure']:32s} {1000 * row['seconds']:10.1f} ms a {row['per']}"]
    if "ratio" in row:
        parts.append(
            f"({1000 * row['fastest']:.1f} to {1000 * row['slowest']:.1f}), {row['ratio']:.2f} times as fast"
        )
    if row.get("target"):
        parts.append(f"(target {row['target']:g})")
    if "peak_gib" in row:
        parts.append(f"peak {row['peak_gib']:.2f} GiB")
    return " ".join(parts)


def _write(rows: list[Row], out: Path) -> None:
    machine = json.dumps(machine_card())
    with atomic_write(out) as partial_path, open(partial_path, "w", newline="") as file:
        writer = csv.DictWriter(file, [*dict.fromkeys(key for row in rows for key in row), "machine"])
        writer.writeheader()
        writer.writerows(row | {"machine": machine} for row in rows)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measures", nargs="*", help=f"default all: {', '.join([*MEASURES, LONG_CLIP])}")
    parser.add_argument("--size", type=int, nargs=2, default=(180, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="CSV to write")
    compare(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
