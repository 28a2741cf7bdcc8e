"""Reported against reproduced: published scores next to what this study measured on the same clips."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from vsrbench.config import ROOT
from vsrbench.errors import InputError
from vsrbench.footnotes import reduced_settings
from vsrbench.rendering import Cell, Note, Row, Table
from vsrbench.results import Results

PUBLISHED = ROOT / "workflow" / "reference" / "published_results.csv"
NAMES = {"reds4": "REDS4", "vimeo90k": "Vimeo-90K-T", "vid4": "Vid4", "udm10": "UDM10"}
OURS = {"VSRT": "full", "Bicubic": "bicubic"}  # what we run of what was published
_PLACE = ["dataset", "degradation", "channel", "clip"]


def compare_with_published(results: Results, published: Path = PUBLISHED) -> pd.DataFrame:
    """Published scores of the clips, degradations and channels that were scored here, and our own of these.

    `variant`, `measured_psnr_db`, `measured_ssim` and `difference` are empty but for the methods in `OURS`. A
    study that scored a part of a data set is held against the published scores of these clips, never
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
            by_clip = clips.loc[(dataset, variant)].groupby("clip").mean()
            if whole:
                by_clip.loc["average"] = by_clip.mean()
            for clip, scores in by_clip.iterrows():
                for channel in ("RGB", "Y"):
                    values = scores[f"psnr_{channel.lower()}"], scores[f"ssim_{channel.lower()}"]
                    yield NAMES[dataset], degradations[dataset], channel, clip, method, variant, *values


def published_table(results: Results, compared: pd.DataFrame) -> Table:
    """What `published.md` shows."""
    reductions = reduced_settings(results.variants["full"])
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
    if reductions:
        title += ", by a study smaller than the published one"
    notes = [Note(f"Smaller than the published study: {reductions}.")] if reductions else []
    if compared.empty:
        notes.append(Note("Nothing was scored here that has a published value."))
    notes.append(
        Note(
            "Run here are the full model (VSRT) and bicubic; where nothing was measured or reported the cell "
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
