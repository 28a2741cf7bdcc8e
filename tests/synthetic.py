"""A made-up study on disk, as the workflow leaves it: scores, runtimes, settings, provenance, pictures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from models.baselines import ANCHOR
from vsrbench.core.config import at_budget, read_yaml, resolve_variant
from vsrbench.core.metric_table import METRICS
from vsrbench.results.study_results import StudyFiles

BASELINE = ANCHOR.name
ROOT = Path(__file__).resolve().parents[1]
# What each variant loses in dB against the full model, and its size in M.
EFFECTS = {
    "full": (0.0, 0.153),
    "fcsa": (-0.75, 0.41),
    "fcsa_token_wise": (-0.83, 0.39),
    "unaligned_ffn": (-0.02, 0.153),
    "token_wise_ffn": (-0.1, 0.06),
    "no_positional_encoding": (0.01, 0.153),
    "positional_encoding_as_described": (0.0, 0.153),
    "learned_positional_encoding": (0.02, 0.155),
    "channel_norm": (-0.12, 0.15),
    "no_position_information": (-0.3, 0.13),
    BASELINE: (-1.2, None),
}
CLIPS = {"photo_motion": {"chelsea_0": 7, "chelsea_1": 7, "rocket_0": 7, "rocket_1": 7}, "vid4": {"city": 34}}
PUBLISHED = """method,year,dataset,degradation,channel,clip,psnr_db,ssim,source,confidence
VSRT,2021,Vid4,BI,Y,average,27.36,0.8258,a paper,high
VSRT,2021,Vid4,BI,Y,city,27.70,0.8,a paper,high
VSRT,2021,Vid4,BD,Y,average,28.36,0.8258,a paper,high
Another,2021,Vid4,BI,Y,average,29.36,0.8258,a paper,high
Hearsay,2021,Vid4,BI,Y,average,39.36,0.8258,a ranking,low
"""
MACHINE = {"processor": "A processor", "threads": 2, "device": "cpu", "host": "a"}


def write_study(
    folder: Path, *, seeds=(1, 2, 3), effects=EFFECTS, clips=CLIPS, lpips=True, budgets=(), disturbed=()
) -> StudyFiles:
    """Write the study, and `published.csv`, into `folder`; its last part is the study's name.

    At each of the smaller `budgets`, a variant loses twice as much and every network 1 dB. The machine had
    other work while the `disturbed` variants were timed.
    """
    random = np.random.default_rng(3)
    study = read_yaml(ROOT / "workflow" / "config" / "demo.yaml") | {
        "study": folder.name,
        "degradation": "BI",
    }
    study["overrides"]["training"] |= {"iterations": 1000, "batch_size": 1}
    variants = {name: resolve_variant(study, name) for name in effects if name != BASELINE}
    for budget in budgets:
        for name in [name for name, variant in variants.items() if not variant.shortened]:
            shorter = at_budget(variants[name], budget)
            variants[shorter.variant] = shorter
            effects = effects | {shorter.variant: (2 * effects[name][0] - 1, effects[name][1])}
    files = {"evaluations": [], "configs": [], "runtimes": [], "provenance": [], "manifests": []}
    level = {(dataset, clip): random.normal(25, 2) for dataset in clips for clip in clips[dataset]}
    habit = {(variant, clip): random.normal(0, 0.06) for variant in effects for clip in level}
    for dataset, lengths in clips.items():
        subset = {"test": "1 of 4 clips"} if dataset == "vid4" else {}
        files["manifests"].append(
            write(
                folder / "data" / dataset / "manifest.json",
                json.dumps({"dataset": dataset, "subset": subset}),
            )
        )
        for variant, (effect, _) in effects.items():
            for seed in [0] if variant == BASELINE else seeds:
                luck = random.normal(0, 0.02)
                rows = [
                    {
                        "study": folder.name,
                        "variant": variant,
                        "seed": seed,
                        "dataset": dataset,
                        "clip": clip,
                        "frame": frame,
                        **metrics(
                            level[dataset, clip]
                            + effect
                            + habit[variant, (dataset, clip)]
                            + luck
                            + random.normal(0, 0.02),
                            lpips,
                        ),
                        "mode": "whole_frame" if variant == BASELINE else "tiled",
                        "tile_overlap": "" if variant == BASELINE else 4,
                        "precision": "float32",
                        "num_frames": num_frames,
                        "degradation": "BI",
                        "trained_on": "" if variant == BASELINE else "BI",
                        "code_digest": "0123456789ab",
                        "config_digest": "ba9876543210",
                    }
                    for clip, num_frames in lengths.items()
                    for frame in range(num_frames)
                ]
                path = folder / "evaluations" / dataset / variant / f"seed_{seed}.csv"
                files["evaluations"].append(write(path, pd.DataFrame(rows).to_csv(index=False)))
    for variant, (effect, size) in effects.items():
        if variant == BASELINE:
            continue
        resolved = variants[variant].to_dict()
        files["configs"].append(write(folder / "configs" / f"{variant}.yaml", yaml.safe_dump(resolved)))
        if not variants[variant].shortened:
            timed = runtime(variant, size, random)
            timed["measurements"][0]["disturbed"] = "repeats scatter" if variant in disturbed else None
            files["runtimes"].append(write(folder / "runtime" / f"{variant}.json", json.dumps(timed)))
        for seed in seeds:
            run = folder / "runs" / variant / f"seed_{seed}"
            write(run / "train.jsonl", training_log(effect, random))
            facts = {
                "revision": "abc",
                "uncommitted_changes": False,
                "code_digest": "aaaaaaaaaaaa",
                "machine": MACHINE,
                "device_hours": 0.02,
                "seed": seed,
            }
            files["provenance"].append(write(run / "provenance.json", json.dumps(facts)))
    write(folder / "published.csv", PUBLISHED)
    return StudyFiles(**{name: tuple(paths) for name, paths in files.items()})


def metrics(psnr: float, lpips: bool) -> dict[str, float | None]:
    values = {"psnr_rgb": psnr, "ssim_rgb": psnr / 40, "psnr_y": psnr + 1.3, "ssim_y": psnr / 39}
    values |= {"lpips_alex": 0.9 - psnr / 40, "lpips_squeeze": 0.8 - psnr / 40} if lpips else {}
    return dict.fromkeys(METRICS) | values


def runtime(variant: str, size: float, random: np.random.Generator) -> dict:
    latency = 300 * size + random.normal(0, 2)
    measurement = {
        "variant": variant,
        "height": 64,
        "width": 64,
        "mode": "tiled",
        "precision": "float32",
        "latency_ms": {"median": latency, "q25": 0.96 * latency, "q75": 1.1 * latency, "repeats": 12},
        "peak_memory_gib": None,
        "peak_rss_gib": 0.6 + size,
        "parameters_m": size,
        "gflops_per_frame": 40 * size,
        "machine": MACHINE,
    }
    return {"variant": variant, "measurements": [measurement]}


def training_log(effect: float, random: np.random.Generator) -> str:
    lines = []
    for iteration in range(10, 301, 10):
        line = {
            "iteration": iteration,
            "loss": 0.02 + 0.05 * np.exp(-iteration / 60) + random.normal(0, 0.001),
        }
        if iteration % 50 == 0:
            line["validation_psnr_rgb"] = 24 + effect - 2 * np.exp(-iteration / 80) + random.normal(0, 0.02)
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
