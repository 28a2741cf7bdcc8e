"""A small finished study made of files alone, as the DAG would leave it, with effects that are known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import save_file

from vsrbench.config import ROOT, read_yaml, resolve_variant
from vsrbench.statistics import METRICS

VARIANTS = ("full", "fcsa", "channel_norm")
SEEDS = (1, 2)
EFFECT = {"bicubic": -1.2, "full": 0.0, "fcsa": -0.6, "channel_norm": 0.002}  # dB of PSNR against full
CLIPS = {"photo_motion": ("coffee_0", "coffee_1", "rocket_0"), "vid4": ("city",)}
FRAMES = 3
ITERATIONS, LOG_INTERVAL, VALIDATION_INTERVAL = 300, 10, 100


def write_study(folder: Path, variants=VARIANTS, seeds=SEEDS) -> Path:
    """Write `folder` (named like its study) and return it."""
    settings = read_yaml(ROOT / "workflow" / "config" / "demo.yaml") | {"study": folder.name}
    random = np.random.default_rng(0)
    for variant in variants:
        resolved = resolve_variant(settings, variant).to_dict()
        write(folder / "configs" / f"{variant}.yaml", yaml.safe_dump(resolved, sort_keys=False))
        write(folder / "runtime" / f"{variant}.json", json.dumps(runtime(variant)))
        for seed in seeds:
            write_training(folder / "runs" / variant / f"seed_{seed}", seed, random)
    for variant, seed in [("bicubic", 0), *((variant, seed) for variant in variants for seed in seeds)]:
        for dataset in CLIPS:
            write_evaluation(folder, dataset, variant, seed, random)
    return folder


def write_training(run: Path, seed: int, random: np.random.Generator) -> None:
    """Log, provenance and weights of one finished training."""
    write(run / "train.jsonl", "".join(log_lines(random)))
    facts = {
        "step": "train",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "uncommitted_changes": False,
        "code_digest": "0123456789ab",
        "machine": {"host": "node", "device": "cpu", "processor": "A processor", "threads": 1},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:03:00+00:00",
        "seed": seed,
        "attempts": 1,
        "device_hours": 0.05,
        "energy_kwh": None,
        "peak_memory_gib": 1.5,
    }
    write(run / "provenance.json", json.dumps(facts))
    save_file({"weight": random.random(4).astype(np.float32)}, run / "weights.safetensors")


def log_lines(random: np.random.Generator) -> list[str]:
    """One line for each interval of a training, validation at some."""
    lines = []
    for iteration in range(LOG_INTERVAL, ITERATIONS + 1, LOG_INTERVAL):
        record = {
            "iteration": iteration,
            "loss": 0.2 * iteration**-0.3 + 0.002 * random.standard_normal(),
            "gradient_norm": 1.0,
            "learning_rate": 1e-3,
        }
        if iteration % VALIDATION_INTERVAL == 0:
            record["validation_psnr"] = 22 + iteration / ITERATIONS
        lines.append(
            json.dumps(record | {"seconds_per_iteration": 0.2, "waiting_share": 0.0, "memory_gib": 1.5})
            + "\n"
        )
    return lines


def write_evaluation(
    folder: Path, dataset: str, variant: str, seed: int, random: np.random.Generator
) -> None:
    """Scores of every frame, and one restored frame for each clip."""
    rows = []
    for number, clip in enumerate(CLIPS[dataset]):
        level = 24 + number + EFFECT[variant] + 0.02 * random.standard_normal()
        for frame in range(FRAMES):
            psnr = level + 0.05 * frame
            scores = dict.fromkeys(METRICS, np.nan) | {
                "psnr_rgb": psnr,
                "psnr_y": psnr + 1.3,
                "ssim_rgb": psnr / 35,
                "ssim_y": psnr / 34,
                "lpips_alex": 0.9 - psnr / 50,
            }
            rows.append({"clip": clip, "frame": frame, **scores, "num_frames": FRAMES})
    table = pd.DataFrame(rows).assign(
        study=folder.name,
        variant=variant,
        seed=seed,
        dataset=dataset,
        mode="tiled",
        degradation="BI",
        trained_on="" if variant == "bicubic" else "BI",
        code_digest="0123456789ab",
        config_digest="ba9876543210",
    )
    path = folder / "evaluations" / dataset / variant / f"seed_{seed}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    for clip in CLIPS[dataset]:
        picture = cv2.resize(random.integers(0, 255, (6, 6, 3), dtype=np.uint8), (64, 64))
        path.with_suffix("").mkdir(exist_ok=True)
        cv2.imwrite(str(path.with_suffix("") / f"{clip}_00000001.png"), picture)


def runtime(variant: str) -> dict:
    """What `measure_runtime` leaves."""
    milliseconds = {"full": 120.0, "fcsa": 80.0, "channel_norm": 119.0}.get(variant, 100.0)
    measurement = {
        "variant": variant,
        "height": 64,
        "width": 64,
        "mode": "tiled",
        "precision": "float32",
        "latency_ms": {
            "median": milliseconds,
            "q25": milliseconds - 1,
            "q75": milliseconds + 2,
            "repeats": 9,
        },
        "peak_memory_gib": 0.4,
        "peak_rss_gib": 0.5,
        "parameters_m": 0.21 if variant != "fcsa" else 0.35,
        "gflops_per_frame": 8.5,
        "machine": {"processor": "A processor", "device": "cpu", "threads": 1},
    }
    return {"variant": variant, "measurements": [measurement]}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
