"""How fast the network restores and trains, as ratios against the released procedure written out plainly.

`python -m vsrbench.benchmarks.network [measure ...]` runs on the GPU if there is one. What is compared runs
in turns, each in a process of its own, since times on a shared machine drift. The weights are random.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from models import ModelConfig, build_model
from models.blocks import ResidualStack
from models.vsr_transformer import VSRTransformer
from vsrbench.benchmarks import results_csv
from vsrbench.benchmarks.released_procedure import plain_network, plain_tiled
from vsrbench.core.device import allow_tf32, computing_in, deterministic, tf32
from vsrbench.core.errors import InputError
from vsrbench.core.malloc import retain_freed_memory
from vsrbench.core.provenance import machine_card
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.training.losses import charbonnier

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WINDOWS_A_STEP = {"cpu": 1, "cuda": 4}[DEVICE]  # the released code has four a GPU

Row = dict[str, Any]
Work = Callable[[], Iterator[int]]  # each call of the iterator does something as often as it says


@dataclass(frozen=True)
class Measure:
    """One way to do the work, and how many times as fast as the plain way it is to be."""

    precision: str = "float32"
    mode: str = ""  # of restoring; a training step has none
    activation_checkpointing: bool = False
    compiled: bool = False  # on a GPU only
    deterministic: bool = False  # on a GPU only
    windows: int = WINDOWS_A_STEP  # of a training step
    target: float | None = None

    @property
    def gpu_only(self) -> bool:
        """Whether it makes no difference on a CPU, or takes too long there."""
        return any(
            (self.compiled, self.deterministic, self.precision == "tf32", self.windows > WINDOWS_A_STEP)
        )


MEASURES = {
    "tiled_float32": Measure(mode="tiled", target=2.2),
    "tiled_bfloat16": Measure("bfloat16", mode="tiled", target=7),
    "tiled_bfloat16_compiled": Measure("bfloat16", mode="tiled", compiled=True),
    "whole_frame_float32": Measure(mode="whole_frame", target=12),
    "whole_frame_bfloat16": Measure("bfloat16", mode="whole_frame"),
    "whole_frame_bfloat16_compiled": Measure("bfloat16", mode="whole_frame", compiled=True),
    "step_float32": Measure(target=1.4),
    "step_tf32": Measure("tf32"),
    "step_bfloat16": Measure("bfloat16", target=2.5),
    "step_float32_compiled": Measure(compiled=True),
    "step_tf32_compiled": Measure("tf32", compiled=True),
    "step_bfloat16_compiled": Measure("bfloat16", compiled=True),
    "step_float32_activation_checkpointing": Measure(activation_checkpointing=True),
    "step_bfloat16_activation_checkpointing": Measure("bfloat16", activation_checkpointing=True),
    "step_float32_deterministic": Measure(deterministic=True),
    "step_bfloat16_deterministic": Measure("bfloat16", deterministic=True),
    "step_bfloat16_compiled_deterministic": Measure("bfloat16", compiled=True, deterministic=True),
    "step_bfloat16_compiled_16_windows": Measure("bfloat16", compiled=True, windows=16),
}
LONG_CLIP = "long_clip_memory"
STACK = "residual_stack"
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bfloat16, by their makers' data sheets
FIRST = 4  # a frame far enough from the clip's start
SETTLING = 3  # steps until the C library keeps what a step frees instead of asking for new pages

_calls: Iterator[int]  # in a worker: its work


def compare_restoring(
    names: list[str], size: tuple[int, int], rounds: int, sizes: dict[str, int]
) -> Iterator[Row]:
    """Time one more frame of a clip of noise after warm-up, and record peaks of memory."""
    length = 3 * rounds + 16
    works = {"plain_tiled": partial(_plain_windows, size, length, sizes)}
    works |= {name: partial(_windows, MEASURES[name], size, length, sizes) for name in names}
    yield from in_turns(works, "frame", rounds)


def compare_steps(names: list[str], rounds: int, sizes: dict[str, int]) -> Iterator[Row]:
    """Seconds for a training step, and peaks of memory.

    Each measure takes turns with a plain step of its own: all at once would not fit into 24 GiB. A GPU does
    not drift as a shared CPU does: there, one plain step is measured for all.
    """
    if DEVICE == "cuda":
        plain, operations = None, _operations(sizes)
        for name in ("plain_step", *names):
            work = partial(_steps, MEASURES.get(name), sizes)
            (row,) = in_turns({name: work}, "step", 4 * rounds, warm_up=SETTLING)
            plain = plain or row["seconds"] / WINDOWS_A_STEP
            windows = MEASURES[name].windows if name in MEASURES else WINDOWS_A_STEP
            rates = _rates(row["seconds"], windows, operations)
            yield row | rates | {"ratio": plain * windows / row["seconds"]}
        return
    for name in names:
        works = {step: partial(_steps, MEASURES.get(step), sizes) for step in ("plain_step", name)}
        plain, measured = in_turns(works, "step", rounds, warm_up=SETTLING)
        yield from (plain, measured) if name == names[0] else (measured,)


def _rates(seconds: float, windows: int, operations: float) -> Row:
    """Windows a second, tera-operations a second and, of a known GPU, their share of its bfloat16 peak."""
    rate = windows * operations / seconds
    peak = next((peak for name, peak in PEAKS.items() if name in torch.cuda.get_device_name()), None)
    share = rate / peak if peak else None
    return {
        "windows_a_second": windows / seconds,
        "tera_operations_a_second": rate / 1e12,
        "peak_share": share,
    }


def _operations(sizes: dict[str, Any]) -> float:
    """Operations of a training step on one window; what activation checkpointing repeats counts once."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        clip, gt = torch.empty(1, 5, 3, 64, 64), torch.empty(1, 5, 3, 256, 256)
        charbonnier(build_model(ModelConfig(**sizes))(clip), gt).backward()
    return float(counter.get_total_flops())


def compare_stacks(rounds: int) -> Iterator[Row]:
    """Time a training step of one residual stack, which takes most of a block's time, on a GPU."""
    windows = 16
    work = {"residual_stack_bfloat16_compiled": partial(_stack_steps, windows)}
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ResidualStack(67, 64, 30)(torch.empty(5 * windows, 67, 64, 64)).sum().backward()
    for row in in_turns(work, "step", 4 * rounds, warm_up=SETTLING):
        operations = counter.get_total_flops() / windows
        yield row | _rates(row["seconds"], windows, operations) | {"ratio": None}


def _stack_steps(windows: int) -> Iterator[int]:
    stack = ResidualStack(67, 64, 30).to(DEVICE)
    stack.to(memory_format=torch.channels_last)
    stack.compile()
    x = torch.rand(5 * windows, 67, 64, 64, device=DEVICE)
    while True:
        with torch.autocast(DEVICE, torch.bfloat16):
            stack(x).sum().backward()
        yield 1


def compare_clip_lengths(size: tuple[int, int]) -> Iterator[Row]:
    """Peak memory of restoring 20 and 1,000 whole frames by a narrow network; the clip itself takes none."""
    for length in (20, 1000):
        with _worker(partial(_long_clip, size, length)) as worker:
            seconds, peak = (worker.submit(call).result() for call in (_seconds, _peak_gib))
        yield {"measure": f"clip_of_{length}", "per": "frame", "seconds": seconds, "peak_gib": peak}


def in_turns(works: Mapping[str, Work], per: str, rounds: int, warm_up: int = 1) -> Iterator[Row]:
    """Seconds, ratio to the first work, and peak memory of each, after `warm_up` calls that do not count.

    Each has a process, and so memory, of its own. The plain ones leave the allocator as the system has it,
    like the released code; the measured ones set it as every command of this package does.
    """
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(_worker(work, retain_freed=name in MEASURES))
            for name, work in works.items()
        }
        for worker in warm_up * list(workers.values()):
            worker.submit(_seconds).result()
        seconds = [
            [worker.submit(_seconds).result() for worker in workers.values()]
            for _ in tqdm(range(rounds), "rounds", leave=False)
        ]
        peaks = [worker.submit(_peak_gib).result() for worker in workers.values()]
    seconds = [sorted(taken) for taken in zip(*seconds, strict=True)]
    for name, taken, peak in zip(works, seconds, peaks, strict=True):
        yield {
            "measure": name,
            "per": per,
            "seconds": median(taken),
            "fastest": taken[0],
            "slowest": taken[-1],
            "ratio": median(seconds[0]) / median(taken),
            "target": MEASURES[name].target if name in MEASURES else None,
            "peak_gib": peak,
        }


def _worker(work: Work, retain_freed: bool = True) -> ProcessPoolExecutor:
    """Start a process for one candidate."""
    return ProcessPoolExecutor(1, get_context("spawn"), _begin, (work, retain_freed))


def _begin(work: Work, retain_freed: bool) -> None:
    global _calls
    if retain_freed:
        retain_freed_memory()
    allow_tf32(False)
    _calls = work()


def _seconds() -> float:
    """Time the worker's next call, in seconds per restored frame or training step."""
    start = time.perf_counter()
    count = next(_calls)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def _network(norm: str, sizes: dict[str, Any]) -> VSRTransformer:
    torch.manual_seed(0)
    return build_model(ModelConfig(norm=norm, **sizes)).to(DEVICE)


def _plain_windows(size: tuple[int, int], length: int, sizes: dict[str, int]) -> Iterator[int]:
    """Restore a frame at a time; first one tile, as a warm-up."""
    model, lq = _network("spatial_affine", sizes), _noise(size, length)
    edge = model.config.feat_size
    network = partial(plain_network, model)
    for part in chain([lq[:, :edge, :edge]], repeat(lq)):
        with torch.no_grad():
            plain_tiled(network, model.config, part, FIRST, DEVICE)
        yield 1


def _windows(measure: Measure, size: tuple[int, int], length: int, sizes: dict[str, int]) -> Iterator[int]:
    """Restore the frames of one window at a time."""
    model = _network("channel" if measure.mode == "whole_frame" else "spatial_affine", sizes)
    if measure.compiled:
        model.compile()
    frames, count = range(FIRST, length), 3 if measure.mode == "whole_frame" else 1
    lq = _noise(size, length)
    options = RestoreOptions(measure.mode, precision=measure.precision)
    restored = restore_clip(model, lq, options, frames=frames)
    while True:
        for _ in range(count):
            next(restored)
        yield count


def _long_clip(size: tuple[int, int], length: int) -> Iterator[int]:
    """Restore a whole clip at once, all of whose frames are one array in memory."""
    narrow = dict(num_feat=8, flow_num_feat=8, depth=1)
    blocks = dict(num_extract_blocks=0, num_reconstruct_blocks=0, num_feed_forward_blocks=0)
    lq = np.broadcast_to(_noise(size, 1), (length, *size, 3))
    for image in restore_clip(_network("channel", narrow | blocks), lq, RestoreOptions("whole_frame")):
        to_frame(image)
    yield length


def _noise(size: tuple[int, int], length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (length, *size, 3), dtype=np.uint8)


def _steps(measure: Measure | None, sizes: dict[str, int]) -> Iterator[int]:
    """Training steps on random clips; without a measure, of the plain network."""
    model, device = _network("spatial_affine", sizes), torch.device(DEVICE)
    forward: Callable[[Tensor], Tensor] = partial(plain_network, model)
    if measure is not None:
        forward, model.activation_checkpointing = model, measure.activation_checkpointing
        if DEVICE == "cuda":
            model.set_layout(measure.precision)
        if measure.compiled:
            model.compile()
    how = measure or Measure()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.9, 0.99), fused=measure is not None)
    lq = torch.rand(how.windows, 5, 3, 64, 64, device=DEVICE)
    gt = torch.rand(how.windows, 5, 3, 256, 256, device=DEVICE)
    with deterministic(device, set(), how.deterministic), tf32(how.precision == "tf32"):
        while True:
            with computing_in(how.precision, device):
                restored = forward(lq)
            optimizer.zero_grad(set_to_none=True)
            charbonnier(restored, gt).backward()
            optimizer.step()
            yield 1


def _peak_gib() -> float:
    """Return the peak memory of this process: on the GPU if there is one, else as the system counts it."""
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
    **sizes: int,
) -> list[Row]:
    """Run measures, all by default, on low-quality frames of `size`; print them, and write them as CSV.

    `sizes` are those of the network that differ from the published ones.
    """
    known = [name for name, measure in MEASURES.items() if DEVICE == "cuda" or not measure.gpu_only]
    others = [STACK, LONG_CLIP] if DEVICE == "cuda" else [LONG_CLIP]
    chosen = measures or [*known, *others]
    if unknown := sorted(set(chosen) - {*known, *others}):
        raise InputError(
            f"bench: unknown measure {unknown[0]!r} on {DEVICE}; "
            f"expected one of {', '.join([*known, *others])}"
        )
    restoring = [name for name in known if name in chosen and MEASURES[name].mode]
    steps = [name for name in known if name in chosen and not MEASURES[name].mode]
    allow_tf32(False)  # as the workers do: the card is this process's
    print(json.dumps(machine_card()), flush=True)
    rows = []
    for wanted, measured in (
        (restoring, compare_restoring(restoring, size, rounds, sizes)),
        (steps, compare_steps(steps, rounds, sizes)),
        (STACK in chosen, compare_stacks(rounds)),
        (LONG_CLIP in chosen, compare_clip_lengths(size)),
    ):
        for row in measured if wanted else ():
            rows.append(row)
            print(_line(row), flush=True)
    results_csv.write(rows, out)
    return rows


def _line(row: Row) -> str:
    parts = [f"{row['measure']:32s} {1000 * row['seconds']:10.1f} ms a {row['per']}"]
    if "fastest" in row:
        parts.append(f"({1000 * row['fastest']:.1f} to {1000 * row['slowest']:.1f})")
    if row.get("ratio"):
        parts.append(f"{row['ratio']:.2f} times as fast")
    if row.get("target"):
        parts.append(f"(target {row['target']:g})")
    if row.get("tera_operations_a_second"):
        parts.append(f"{row['tera_operations_a_second']:.1f} tera-operations a second")
    if row.get("peak_share"):
        parts.append(f"({row['peak_share']:.1%} of the bfloat16 peak)")
    if "peak_gib" in row:
        parts.append(f"peak {row['peak_gib']:.2f} GiB")
    return " ".join(parts)


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measures", nargs="*", help=f"default all: {', '.join([*MEASURES, LONG_CLIP])}")
    parser.add_argument("--size", type=int, nargs=2, default=(180, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="CSV to write")
    compare(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
