"""Check bicubic's scores against published reference scores, and average scores over a data set.

The code that scores bicubic also scores every network. Correct implementations of the protocol agree on
bicubic to 0.01 dB; one with a wrong degradation, channel, border or frame selection does not.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.baselines import ANCHOR
from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT, atomic_write
from vsrbench.core.lineage import origin
from vsrbench.core.metric_table import METRICS
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import SCALE
from vsrbench.data.manifest import read_manifest
from vsrbench.evaluation.gate_diagnosis import find_cause
from vsrbench.results.study_results import read_rows

ANCHORS = ROOT / "workflow" / "reference" / "anchors.csv"
PSNR_TOLERANCE, SSIM_TOLERANCE = 0.01, 0.0005  # dB; absolute

logger = logging.getLogger("vsrbench")


def average(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of one variant, seed and data set; the index is the metric, with three columns.

    `clip_mean`: mean over the frames of a clip, then over clips (BasicSR, MMagic, KAIR; reported here).
    `frame_mean`: mean over all frames, so that long clips weigh more (used by some tables on Vid4, where the
    two differ by up to 0.1 dB). `infinite`: number of exactly restored frames, whose infinite PSNR is
    excluded from both means.
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
    """Check bicubic's `rows` on the data set of `manifest` against the published scores; write JSON to `out`.

    A data set, or a subset of one, without a published score passes, and the file says so.

    Raises InputError, and writes nothing, if a score differs from the published one (the message names the
    likely cause), if `rows` holds another variant than bicubic, and if a test clip has fewer frames than
    `min_frames` or an edge of less than `min_edge` LQ pixels, so that the study's networks cannot restore it.
    """
    made, found = origin("gate", rows, manifest), read_rows(rows)
    if set(found["variant"]) != {ANCHOR.name}:
        raise InputError(
            f"{rows}: expected scores of {ANCHOR.name}, got {', '.join(found['variant'].unique())}; "
            f"pass the rows of {ANCHOR.name}"
        )
    clips = load_clips(manifest, "test")
    _check_restorable(read_manifest(manifest), min_frames, min_edge)
    checks = check_anchors(found, clips, pd.read_csv(ANCHORS, dtype={"clip": str}))
    averages = average(found)
    report = {
        "dataset": clips[0].dataset,
        "degradation": clips[0].degradation,
        "checks": checks,
        "note": None if checks else f"no published {ANCHOR.name} score for these clips to check against",
        "averages": json.loads(averages[["clip_mean", "frame_mean"]].to_json(orient="index")),
        "infinite_psnr_frames": int(averages["infinite"].max()),
    }
    for check in checks:
        logger.info("%(dataset)s %(clip)s: %(psnr).4f dB, published %(anchor_psnr)s dB", check)
    if not checks:
        logger.info("%s: %s", report["dataset"], report["note"])
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n")
    made.record(out)


def _check_restorable(manifest: dict[str, Any], min_frames: int, min_edge: int) -> None:
    for clip in manifest["clips"]:
        where = f"{manifest['root']}: clip {clip['name']}"
        height, width = (edge // SCALE for edge in (clip["height"], clip["width"]))
        if clip["split"] == "test" and clip["frames"] < min_frames:
            raise InputError(
                f"{where} has {clip['frames']} frames, fewer than a window of {min_frames}; leave it out or "
                "lower model.num_frames"
            )
        if clip["split"] == "test" and min(height, width) < min_edge:
            raise InputError(
                f"{where} has {width}x{height} LQ pixels, smaller than a tile of {min_edge}; leave it out or "
                "lower model.feat_size"
            )


def check_anchors(rows: pd.DataFrame, clips: list[Clip], anchors: pd.DataFrame) -> list[dict[str, Any]]:
    """Compare the scores with every anchor that covers the scored clips.

    `anchors` has the columns of `workflow/reference/anchors.csv`. Returns one entry per anchor: its columns,
    and the measured `psnr` (dB) and `ssim` on its channel. A subset of a data set is compared with the
    anchors of its clips, never with the data set's average.

    Raises InputError at the first anchor that is missed or whose frames were not all scored.
    """
    here = (anchors["dataset"] == clips[0].dataset) & (anchors["degradation"] == clips[0].degradation)
    checks = []
    for anchor in anchors[here].replace({np.nan: None}).to_dict("records"):
        if anchor["clip"] == "average":
            scored, of = rows if rows["clip"].nunique() == anchor["clips"] else rows[:0], clips
        else:
            scored, of = rows[rows["clip"] == anchor["clip"]], [c for c in clips if c.name == anchor["clip"]]
        if not scored.empty:
            checks.append(_check(scored, of, {str(column): value for column, value in anchor.items()}))
    return checks


def _check(rows: pd.DataFrame, clips: list[Clip], anchor: dict[str, Any]) -> dict[str, Any]:
    where = f"{anchor['dataset']} {anchor['clip']} ({anchor['degradation']})"
    if len(rows) != anchor["frames"]:
        raise InputError(
            f"{where}: {len(rows)} frames were scored, the protocol scores {anchor['frames']}; add those "
            f"missing from {clips[0].gt[0].parent if len(clips) == 1 else clips[0].gt[0].parents[1]}"
        )
    means = average(rows)["clip_mean"]
    channel = anchor["channel"].lower()
    psnr, ssim = means[f"psnr_{channel}"], means[f"ssim_{channel}"]
    if not _meets(psnr, ssim, anchor):
        cause = find_cause(clips, {"RGB": means["psnr_rgb"], "Y": means["psnr_y"]}, anchor)
        raise InputError(
            f"{where}: {ANCHOR.name} scores {psnr:.4f} dB / {ssim:.4f} on {anchor['channel']}, published: "
            f"{anchor['psnr_db']} dB / {anchor['ssim']}; likely cause: {cause}"
        )
    return anchor | {"psnr": round(psnr, 6), "ssim": round(ssim, 6)}


def _meets(psnr: float, ssim: float, anchor: dict[str, Any]) -> bool:
    """Whether both scores are within tolerance; an anchor may have no SSIM."""
    near = abs(psnr - anchor["psnr_db"]) <= PSNR_TOLERANCE
    return near and (anchor["ssim"] is None or abs(ssim - anchor["ssim"]) <= SSIM_TOLERANCE)
