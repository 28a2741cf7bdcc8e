"""The metrics that frames are scored with, and what scoring, statistics, tables and studies know of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One column of an evaluation; `evaluation.metrics` computes it."""

    name: str  # of the column, and in a study's `evaluation.metrics`
    label: str  # in tables and figures
    unit: str = ""
    digits: int = 4  # decimals in tables
    higher_is_better: bool = True
    in_tables: bool = True  # or in the CSV files only
    required: bool = False  # a study must compute it: the gate compares it with published scores
    infinite_if_exact: bool = False  # for a frame that equals the ground truth
    needs_previous_frame: bool = False  # undefined for the first scored frame of a clip
    lpips_net: str | None = None  # LPIPS backbone that it needs

    @property
    def label_with_unit(self) -> str:
        """Name for axes and table heads, such as "PSNR Y (dB)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _psnr(channel: str) -> Metric:
    name, label = f"psnr_{channel.lower()}", f"PSNR {channel}"
    return Metric(name, label, "dB", digits=2, required=True, infinite_if_exact=True)


def _ssim(channel: str) -> Metric:
    return Metric(f"ssim_{channel.lower()}", f"SSIM {channel}", required=True)


# In the order of the columns.
METRICS = {
    metric.name: metric
    for metric in (
        _psnr("RGB"),
        _ssim("RGB"),
        _psnr("Y"),
        _ssim("Y"),
        Metric("lpips_alex", "LPIPS Alex", higher_is_better=False, lpips_net="alex"),
        Metric(
            "lpips_squeeze", "LPIPS Squeeze", higher_is_better=False, in_tables=False, lpips_net="squeeze"
        ),
        Metric("tof", "tOF", "px", higher_is_better=False, in_tables=False, needs_previous_frame=True),
        Metric(
            "tlp",
            "tLP",
            higher_is_better=False,
            in_tables=False,
            needs_previous_frame=True,
            lpips_net="alex",
        ),
        Metric("patch_seam", "patch seam", "levels", higher_is_better=False, in_tables=False),
        Metric("tile_seam", "tile seam", "levels", higher_is_better=False, in_tables=False),
    )
}

# The columns of tables, figures of scores and the dashboard.
SHOWN = tuple(name for name, metric in METRICS.items() if metric.in_tables)
# Infinite for a frame that was restored exactly.
INFINITE = tuple(name for name, metric in METRICS.items() if metric.infinite_if_exact)
