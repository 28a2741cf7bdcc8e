"""What makes scores comparable: the rules by which they are averaged, and the gate.

The gate holds bicubic's scores on a data set, taken by the same code as every network's, against published
ones. They agree to 0.01 dB between correct implementations of the protocol, and to no other.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT, atomic_write
from vsrbench.core.metric_table import METRICS
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import SCALE
from vsrbench.data.manifest import read_manifest
from vsrbench.evaluation.gate_diagnosis import find_cause
from vsrbench.results.statistics import BASELINE
from vsrbench.results.study_results import read_rows

ANCHORS = ROOT / "workflow" / "reference" / "anchors.csv"
PSNR_TOLERANCE, SSIM_TOLERANCE = 0.01, 0.0005

logger = logging.getLogger("vsrbench")


def average(rows: pd.DataFrame) -> pd.DataFrame:
    """The two averages in use for one variant, seed and data set: index metric, three columns.

    `clip_mean`: mean over the frames of a clip, then over clips (BasicSR, MMagic, KAIR; what we report).
    `frame_mean`: every frame counts alike, so that long clips count more (some tables on Vid4: up to 0.1 dB
    apart). `infinite`: exactly restored frames, whose PSNR is infinite and left out of both.
    """
    scores = rows[list(METRICS)]
    finite = scores.replace(np.inf, np.nan)
    return pd.DataFrame(
        {
            "clip_mean": finite.groupby(rows["clip"]).mean().mean(),
            "frame_mean": finite.mean(),
            "infinite": np.isposinf(scores).sum(),
        }
    )


def gate(*, rows: Path, manifest: Path, out: Path, min_frames: int = 1, min_edge: int = 1) -> None:
    """Write how bicubic's `rows` on the data set of `manifest` meet the published anchors.

    Raises InputError with the likely cause, and writes nothing, where they do not. A data set, or a part of
    one, for which nothing is published passes, and the file says so. Refused is also a clip of fewer frames
    than `min_frames` or less than `min_edge` LQ pixels, which no network of the study could restore.
    """
    found = read_rows(rows)
    if set(found["variant"]) != {BASELINE}:
        raise InputError(
            f"{rows}: scores of {', '.join(found['variant'].unique())}; the gate takes {BASELINE}'s"
        )
    clips = load_clips(manifest, "test")
    _check_restorable(read_manifest(manifest), min_frames, min_edge)
    checks = check_anchors(found, clips, pd.read_csv(ANCHORS, dtype={"clip": str}))
    averages = average(found)
    report = {
        "dataset": clips[0].dataset,
        "degradation": clips[0].degradation,
        "checks": checks,
        "note": None if checks else "no published score of bicubic on these clips to hold it against",
        "averages": json.loads(averages[["clip_mean", "frame_mean"]].to_json(orient="index")),
        "infinite_psnr_frames": int(averages["infinite"].max()),
    }
    for check in checks:
        logger.info("%(dataset)s %(clip)s: bicubic %(psnr).4f dB, published %(anchor_psnr)s dB", check)
    if not checks:
        logger.info("%s: %s", report["dataset"], report["note"])
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n")


def _check_restorable(manifest: dict[str, Any], min_frames: int, min_edge: int) -> None:
    for clip in manifest["clips"]:
        where = f"{manifest['root']}: clip {clip['name']}"
        height, width = (edge // SCALE for edge in (clip["height"], clip["width"]))
        if clip["split"] == "test" and clip["frames"] < min_frames:
            raise InputError(
                f"{where} has {clip['frames']} frames, fewer than a window of {min_frames}; leave it "
                "out or lower model.num_frames"
            )
        if clip["split"] == "test" and min(height, width) < min_edge:
            raise InputError(
                f"{where} has {width}x{height} LQ pixels, less than a tile of {min_edge}; leave it out or "
                "lower model.feat_size"
            )


def check_anchors(rows: pd.DataFrame, clips: list[Clip], anchors: pd.DataFrame) -> list[dict[str, Any]]:
    """Every anchor that covers the scored clips, with what was measured; InputError at the first one missed.

    A part of a data set is held against the anchors of its clips, never against the average.
    """
    here = (anchors["dataset"] == clips[0].dataset) & (anchors["degradation"] == clips[0].degradation)
    checks = []
    for anchor in anchors[here].replace({np.nan: None}).to_dict("records"):
        if anchor["clip"] == "average":
            scored, of = rows if rows["clip"].nunique() == anchor["clips"] else rows[:0], clips
        else:
            scored, of = rows[rows["clip"] == anchor["clip"]], [c for c in clips if c.name == anchor["clip"]]
        if not scored.empty:
            checks.append(_check(scored, of, anchor))
    return checks


def _check(rows: pd.DataFrame, clips: list[Clip], anchor: dict[str, Any]) -> dict[str, Any]:
    where = f"{anchor['dataset']} {anchor['clip']} ({anchor['degradation']})"
    if len(rows) != anchor["frames"]:
        raise InputError(
            f"{where}: {len(rows)} frames were scored, the protocol scores {anchor['frames']}; restore those "
            f"missing in {clips[0].gt[0].parent if len(clips) == 1 else clips[0].gt[0].parents[1]}"
        )
    means = average(rows)["clip_mean"]
    channel = anchor["channel"].lower()
    psnr, ssim = means[f"psnr_{channel}"], means[f"ssim_{channel}"]
    if not _meets(psnr, ssim, anchor):
        cause = find_cause(clips, {"RGB": means["psnr_rgb"], "Y": means["psnr_y"]}, anchor)
        raise InputError(
            f"{where}: bicubic gives {psnr:.4f} dB / {ssim:.4f} on {anchor['channel']}, published are "
            f"{anchor['psnr_db']} / {anchor['ssim']}; likely cause: {cause}"
        )
    return anchor | {"psnr": round(psnr, 6), "ssim": round(ssim, 6)}


def _meets(psnr: float, ssim: float, anchor: dict[str, Any]) -> bool:
    """Whether both scores are close enough; an anchor may lack its SSIM."""
    near = abs(psnr - anchor["psnr_db"]) <= PSNR_TOLERANCE
    return near and (anchor["ssim"] is None or abs(ssim - anchor["ssim"]) <= SSIM_TOLERANCE)
