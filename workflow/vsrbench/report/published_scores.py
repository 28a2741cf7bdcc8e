"""Reported against reproduced: published scores next to what this study measured on the same clips."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pandas as pd

from models.baselines import BASELINES
from vsrbench.core.config import ABLATIONS, Variant, read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT
from vsrbench.data.registry import DATA_SETS
from vsrbench.report.table_formats import Cell, Note, Row, Table
from vsrbench.results.study_results import Results

PUBLISHED = ROOT / "workflow" / "reference" / "published_results.csv"
NAMES = {name: dataset.published_as for name, dataset in DATA_SETS.items() if dataset.published_as}
# What we run of what was published.
OURS = {"VSRT": "full"} | {
    baseline.published_as: name for name, baseline in BASELINES.items() if baseline.published_as
}
# What the released recipes (commit 8770126) have otherwise than full.yaml, which is the one for REDS, by what
# they train on; and the one behind the scores on each data set.
_RECIPES = {"reds": {}, "vimeo90k": {"num_frames": 7, "depth": 7, "batch_size": 16}}
_RECIPE_BEHIND = {"REDS4": "reds", "Vimeo-90K-T": "vimeo90k", "Vid4": "vimeo90k", "UDM10": "vimeo90k"}
_SCALE = (
    "num_frames",
    "num_feat",
    "feat_size",
    "depth",
    "num_reconstruct_blocks",
    "num_feed_forward_blocks",
    "iterations",
    "batch_size",
)
_PLACE = ["dataset", "degradation", "channel", "clip"]


def compare_with_published(results: Results, published: Path = PUBLISHED) -> pd.DataFrame:
    """Return published scores of the clips, degradations and channels scored here, beside our own.

    `variant`, `measured_psnr_db`, `measured_ssim` and `difference` are empty but for the methods in `OURS`. A
    study that scored a part of a data set is compared with the published scores of these clips, never
    against the average. Reported values of low confidence and those found in rankings only are left out.
    """
    try:
        reported = pd.read_csv(published, dtype={"clip": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{published}: {error}; restore it from the repository") from None
    reported = reported[(reported["confidence"] == "high") & reported["psnr_db"].notna()]
    reported = reported.drop_duplicates([*_PLACE, "method", "psnr_db", "ssim"])
    columns = [*_PLACE, "method", "variant", "measured_psnr_db", "measured_ssim"]
    measured = pd.DataFrame(_measured(results), columns=columns)
    measured = measured.merge(reported[_PLACE].drop_duplicates())  # where anything was published
    table = reported.merge(measured[_PLACE].drop_duplicates()).merge(measured, "outer", [*_PLACE, "method"])
    table["difference"] = table["measured_psnr_db"] - table["psnr_db"]
    table["order"] = table["psnr_db"].fillna(table["measured_psnr_db"])
    columns += ["psnr_db", "ssim", "difference", "year", "source", "confidence"]
    return table.sort_values([*_PLACE, "order"], ignore_index=True)[columns]


def _measured(results: Results) -> Iterator[tuple]:
    """Our scores under the published names; a part of a data set gives scores of its clips and no average."""
    clips = results.clips
    degradations = results.rows.groupby("dataset")["degradation"].first()
    for dataset in results.datasets:
        if dataset not in NAMES:
            continue
        whole = "test" not in results.manifests.get(dataset, {}).get("subset", {})
        for method, variant in OURS.items():
            if variant not in results.names:
                continue
            by_clip = cast("pd.DataFrame", clips.loc[(dataset, variant)]).groupby("clip").mean()
            if whole:
                by_clip.loc["average"] = by_clip.mean()
            for clip, scores in by_clip.iterrows():
                for channel in ("RGB", "Y"):
                    values = scores[f"psnr_{channel.lower()}"], scores[f"ssim_{channel.lower()}"]
                    yield NAMES[dataset], degradations[dataset], channel, clip, method, variant, *values


def reduced_settings(full: Variant) -> str:
    """How this study's full model and training fall short of the published ones; empty where they do not.

    Those are the released recipe for what the study trains on; the one for REDS where there is none.
    """
    sizes = _sizes(full, full.train_on)
    return ", ".join(f"{key} {ours:,} of {published:,}" for key, ours, published in sizes if ours < published)


def _departures(results: Results, dataset: str) -> str:
    """Describe how our full model was trained and run differently from the published one."""
    full, recipe = results.variants["full"], _RECIPE_BEHIND[NAMES[dataset]]
    found = []
    if full.weights:
        found.append("loaded, so its training is not known here")
    elif full.train_on != recipe:
        found.append(f"trained on {full.train_on}, not {recipe}")
    sizes = _sizes(full, recipe)
    found += [f"{key} {ours:,}, not {published:,}" for key, ours, published in sizes if ours != published]
    rows = results.rows[(results.rows["dataset"] == dataset) & (results.rows["variant"] == "full")]
    overlap = str(full.model.feat_size // 2)
    for column, released, unit in (
        ("mode", "tiled", "inference"),
        ("tile_overlap", overlap, "pixels of overlap"),
        ("precision", "float32", "inference"),
    ):
        found += [
            f"{value} {unit}, not {released}"
            for value in rows[column].unique()
            if value not in ("", released)
        ]
    return "; ".join(found)


def _sizes(variant: Variant, recipe: str) -> list[tuple[str, int, int]]:
    """Return each setting of `_SCALE` that is known here with its value and that of the released recipe."""
    ours = asdict(variant.model) | ({} if variant.weights else asdict(variant.training))
    published = _released(recipe)
    return [(key, ours[key], published[key]) for key in _SCALE if key in ours]


def _released(train_on: str) -> dict[str, int]:
    full = read_yaml(ABLATIONS / "full.yaml")
    return full["model"] | full["training"] | _RECIPES.get(train_on, {})


def published_table(results: Results, compared: pd.DataFrame) -> Table:
    """Return what `published.md` shows."""
    header = [
        ("reported", "PSNR / SSIM"),
        ("reproduced", "PSNR / SSIM"),
        ("difference", "dB"),
        ("source", ""),
    ]
    groups = {}
    for (dataset, degradation, channel, clip), rows in compared.groupby(_PLACE, sort=False):
        groups[f"{dataset}, {degradation} x4, {channel}, {clip}"] = [_row(row) for row in rows.itertuples()]
    title = "Reported against reproduced"
    shown = [dataset for dataset in results.datasets if NAMES.get(dataset) in set(compared["dataset"])]
    departures = {dataset: found for dataset in shown if (found := _departures(results, dataset))}
    if departures:
        title += ", by another recipe than the published one"
    notes = [Note(f"{NAMES[dataset]}: {found}.") for dataset, found in departures.items()]
    if compared.empty:
        notes.append(Note("Nothing was scored here that has a published value."))
    notes.append(
        Note(
            f"Run here are {' and '.join(OURS)}; where nothing was measured or reported the cell "
            "is empty. Averages are means over clips; papers do not always say whether theirs are."
        )
    )
    return Table(title, header, groups, notes)


def _row(row) -> Row:
    cells = [
        Cell(_pair(row.psnr_db, row.ssim)),
        Cell(_pair(row.measured_psnr_db, row.measured_ssim)),
        Cell("" if pd.isna(row.difference) else f"{row.difference:+.2f}".replace("-", "−")),
        Cell("" if pd.isna(row.source) else row.source),
    ]
    return Row(row.method if pd.isna(row.year) else f"{row.method} ({row.year:.0f})", cells)


def _pair(psnr: float, ssim: float) -> str:
    if pd.isna(psnr):
        return ""
    return f"{psnr:.2f}" if pd.isna(ssim) else f"{psnr:.2f} / {ssim:.4f}"
