"""What a study will cost, before any of it is submitted: counted operations, and how fast this device is."""

from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.baselines import ANCHOR
from vsrbench.core.claims import STUDY_LIST, read_studies
from vsrbench.core.config import STUDIES, Variant, at_smaller_budgets, read_yaml, resolve_variant
from vsrbench.core.device import choose_device
from vsrbench.data import permuted_cells
from vsrbench.data.degradation import SCALE
from vsrbench.data.photo_motion import PHOTOGRAPHS
from vsrbench.data.registry import DATA_SETS
from vsrbench.evaluation.tiling import tile_spans
from vsrbench.orchestration.operation_count import (
    TrainingCost,
    flow_training_cost,
    tile_operations,
    training_cost,
)
from vsrbench.orchestration.study import check_settings
from vsrbench.orchestration.training_speed import STEPS, Calibration, calibrate
from vsrbench.results.statistics import (
    MAX_SEEDS,
    MIN_SEEDS,
    POWER,
    SEED_SPREAD,
    resolvable_difference,
    seeds_to_resolve,
)
from vsrbench.training.checkpoint import KEPT

GIB = 2**30
# Frames of a training clip, and their LQ height and width.
_EDGE = permuted_cells.GRID * permuted_cells.CELL
STORED = {
    "reds": (100, 180, 320),
    "vimeo90k": (7, 64, 112),
    permuted_cells.NAME: (permuted_cells.NUM_FRAMES, _EDGE, _EDGE),
}
FLOW_BYTES = 2 * 2 * 4  # of an LQ pixel: two directions, two components, float32
FILLED = 0.9  # share of a device's memory that tensors may take
HEAD = ("", "trainings", "hours each", "GiB", "scorings", "hours each", "GPU jobs", "GPU-hours")


def plan(*, study: Path, gpus: int = 1, device: str | None = None, memory: float | None = None) -> None:
    """Print jobs, GPU-hours and peak memory of each variant of a study file, and what they rest on.

    `gpus` share the batch of a training. What is counted are convolutions and matrix products, at the rate at
    which this device trains the full model; reading frames and computing metrics come on top. With `memory`
    in GiB, also say how much of a batch fits into a device that has so much. Of
    `workflow/config/claims.yaml`, every study that it lists is planned.
    """
    if study.resolve() == STUDY_LIST:
        for name in read_studies():
            print(f"{name}\n")
            plan(study=STUDIES / f"{name}.yaml", gpus=gpus, device=device, memory=memory)
            print()
        return
    settings = read_yaml(study)
    check_settings(settings, study)
    variants = [resolve_variant(settings, name) for name in settings["variants"]]
    variants += at_smaller_budgets(settings, variants)
    full = next(variant for variant in variants if variant.variant == "full")
    if memory is not None:
        print(_what_fits([variant for variant in variants if not variant.shortened], gpus, memory))
    target = choose_device(device)
    calibration = calibrate(full, gpus, target)
    rows = [_row(settings, variant, gpus, calibration) for variant in variants]
    if _trains_flow(settings, variants):
        rows.append(_flow_row(settings, full, calibration))
    total = ["in all", *("" for _ in HEAD[3:]), sum(row[-2] for row in rows), sum(row[-1] for row in rows)]
    print(_table([list(HEAD), *rows, total]))
    print(_basis(calibration, full, gpus))
    print(_disk(settings, variants))
    print(
        _resolution(len(settings["variants"]) - 1 + len(settings.get("baselines", [ANCHOR.name])), settings)
    )


def _row(settings: dict[str, Any], variant: Variant, gpus: int, calibration: Calibration) -> list:
    training, seeds = variant.training, 1 if variant.weights else len(settings["seeds"])
    trainings = _trainings(settings, variant)
    cost = training_cost(variant)
    hours = calibration.hours(training.iterations * training.batch_size * cost.operations)
    datasets = [name for name in settings["evaluate_on"] if name in DATA_SETS and _scores(variant, name)]
    tiles = sum(_tiles(settings, variant, name) for name in datasets)
    scoring = calibration.hours(tiles * tile_operations(variant)) / max(1, len(datasets))
    scorings = seeds * len(datasets)
    return [
        variant.variant,
        trainings,
        hours,
        _peak_gib(cost, -(-training.batch_size // gpus), 4 + (training.ema_decay is not None), calibration),
        scorings,
        scoring,
        trainings + scorings + (not variant.shortened),  # one measurement of its runtime
        trainings * hours + scorings * scoring,
    ]


def _trains_flow(settings: dict[str, Any], variants: list[Variant]) -> bool:
    uses = any(variant.model.flow_source == "spynet" for variant in variants if not variant.weights)
    return uses and not settings.get("flow_weights")


def _trainings(settings: dict[str, Any], variant: Variant) -> int:
    if variant.weights:
        return 0
    return len(settings["seeds"]) + (0 if variant.shortened else _sweep(settings))


def _sweep(settings: dict[str, Any]) -> int:
    """Trainings of each variant's learning rate sweep."""
    tune = settings.get("tune") or {"learning_rates": (), "seeds": ()}
    return len(tune["learning_rates"]) * len(tune["seeds"])


def _flow_row(settings: dict[str, Any], full: Variant, calibration: Calibration) -> list:
    flow = settings["flow_training"]
    cost = flow_training_cost(full.model.flow_num_feat, flow["crop_size"])
    hours = calibration.hours(flow["iterations"] * flow["batch_size"] * cost.operations)
    return ["SPyNet", 1, hours, _peak_gib(cost, flow["batch_size"], 4, calibration), 0, 0.0, 1, hours]


def _peak_gib(cost: TrainingCost, windows: int, copies: int, calibration: Calibration) -> float:
    return calibration.memory_ratio * cost.peak_bytes(windows, copies) / GIB


def _what_fits(variants: list[Variant], gpus: int, memory: float) -> str:
    """Memory of a GPU's share of the batch, and its largest micro-batch, in each precision."""
    ways = list(product(("float32", "bfloat16"), (False, True)))
    head = ["", *(f"{precision}{', checkpointed' * checkpointing}" for precision, checkpointing in ways)]
    rows = [[variant.variant, *(_fit(variant, gpus, memory, *way) for way in ways)] for variant in variants]
    return (
        f"GiB for one GPU's share of the batch, as counted, and the largest micro-batch that fits into "
        f"{memory:g} GiB\nless {1 - FILLED:.0%} for workspaces; checkpointed: with activation checkpointing; "
        f"tf32 is as float32.\n{_table([head, *rows])}\n"
    )


def _fit(variant: Variant, gpus: int, memory: float, precision: str, checkpointing: bool) -> str:
    training = replace(variant.training, precision=precision, activation_checkpointing=checkpointing)
    cost, share = training_cost(replace(variant, training=training)), -(-training.batch_size // gpus)
    copies = 4 + (training.ema_decay is not None)
    left = FILLED * memory * GIB - cost.peak_bytes(0, copies)
    fits = min(share, int(left // cost.saved_bytes))
    return f"{cost.peak_bytes(share, copies) / GIB:.3g}: {f'{fits} of {share}' if fits > 0 else 'none'}"


def _scores(variant: Variant, dataset: str) -> bool:
    return DATA_SETS[dataset].exact_flow or variant.model.flow_source != "oracle"


def _tiles(settings: dict[str, Any], variant: Variant, dataset: str) -> int:
    """Tiles of all scored frames of a data set; whole frames are counted as if they were tiled."""
    motion = settings["photo_motion"]
    clips = len(PHOTOGRAPHS["test"]) * motion["clips_per_photo"]["test"]
    made = clips * motion["num_frames"], motion["size"] // 4, motion["size"] // 4
    frames, height, width = DATA_SETS[dataset].scored or made
    tile, overlap = variant.model.feat_size, settings["evaluation"]["tile_overlap"]
    return frames * len(tile_spans(height, tile, overlap)) * len(tile_spans(width, tile, overlap))


def _resolution(comparisons: int, settings: dict[str, Any]) -> str:
    """Return the differences in PSNR that the study can resolve, and the seeds that smaller ones need."""
    seeds = len(settings["seeds"])
    found = resolvable_difference(SEED_SPREAD, seeds, comparisons)
    can = (
        f"fewer than {MIN_SEEDS} seeds resolve nothing"
        if np.isnan(found)
        else f"{seeds} seeds resolve {found:.2f} dB"
    )
    needed = (
        f"{difference} dB {seeds_to_resolve(difference, SEED_SPREAD, comparisons) or f'over {MAX_SEEDS}'}"
        for difference in (0.2, 0.1, 0.05)
    )
    return (
        f"\nResolution: with runs that scatter by {SEED_SPREAD} dB and {comparisons} comparisons, "
        f"{can}\nwith a chance of {POWER:.0%}. Seeds for smaller differences: {', '.join(needed)}."
    )


def _table(rows: list[list]) -> str:
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells
    )


def _text(cell: str | int | float) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if cell >= 100 else f"{cell:.2g}"


def _disk(settings: dict[str, Any], variants: list[Variant]) -> str:
    """Say what checkpoints and frame stores take, in GiB."""
    checkpoints, weights = {}, {}
    for variant in variants:
        if not (trainings := _trainings(settings, variant)):
            continue
        copies = 3 + (variant.training.ema_decay is not None)  # weights, two moments, and their average
        size = training_cost(variant).parameter_bytes
        checkpoints[variant.variant] = trainings, (KEPT + 1) * copies * size / GIB
        weights[variant.variant] = trainings * size / GIB
    if settings.get("keep_checkpoints"):
        kept = f"{sum(number * size for number, size in checkpoints.values()):.1f} GiB of checkpoints"
    else:
        largest = max((size for _, size in checkpoints.values()), default=0.0)
        kept = f"up to {largest:.1f} GiB of checkpoints for each training that runs"
    stored = {settings["train_on"]} if checkpoints else set()
    if _trains_flow(settings, variants):
        stored.add("photo_motion")
    stores = sum(_store_bytes(settings, name) for name in stored) / GIB
    return f"Disk: {kept}, {sum(weights.values()):.1f} GiB of weights, {stores:.1f} GiB of frame stores."


def _store_bytes(settings: dict[str, Any], dataset: str) -> int:
    """Return the bytes of the frame stores of a data set's training and validation clips; 0 for a folder."""
    if dataset not in DATA_SETS:
        return 0
    motion = settings["photo_motion"]
    splits = {split: count or 0 for split, count in DATA_SETS[dataset].splits.items()}
    frames = STORED.get(dataset, (motion["num_frames"], motion["size"] // SCALE, motion["size"] // SCALE))
    if dataset == "photo_motion":
        splits = {split: len(PHOTOGRAPHS[split]) * motion["clips_per_photo"][split] for split in PHOTOGRAPHS}
    if dataset == permuted_cells.NAME:
        splits = permuted_cells.CLIPS
    clips = splits["train"] + splits["validation"]
    values = 3 * (1 + SCALE**2) + (FLOW_BYTES if DATA_SETS[dataset].exact_flow else 0)
    return clips * prod(frames) * values


def _basis(calibration: Calibration, full: Variant, gpus: int) -> str:
    return (
        f"\nHours are of one {calibration.device}, {gpus} to a training; GiB are of each. Data sets that "
        f"may be absent are counted, folders of one's own are not.\n"
        f"Calibration: {STEPS} training steps of the full model, {calibration.windows} windows of "
        f"{calibration.crop} x {calibration.crop}, {full.training.precision}, torch "
        f"{torch.__version__}: {calibration.rate / 1e12:.3g} tera-operations a second, "
        f"{calibration.memory_ratio:.2f} of the counted memory."
    )
