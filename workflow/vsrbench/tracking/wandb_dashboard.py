"""The W&B dashboard of a study: compares its variants in quality, training curves, cost and images."""

import logging
import os
from pathlib import Path
from typing import Any

import wandb

from vsrbench.core.errors import InputError
from vsrbench.core.metric_table import SHOWN
from vsrbench.results.run_records import Record, find_records
from vsrbench.tracking.wandb_settings import read_destination

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError:
    raise InputError("wandb-workspaces is not installed; run pip install wandb-workspaces") from None

logger = logging.getLogger("vsrbench")


def publish_dashboard(study: Path) -> None:
    """Save a study's dashboard as a new view of its W&B project, and log its URL. Run `sync` first.

    Reads WANDB_ENTITY and, optionally, WANDB_PROJECT from the environment; requires a W&B login. Raises
    InputError if WANDB_ENTITY is not set or the dashboard cannot be saved.
    """
    entity = os.environ.get("WANDB_ENTITY")
    if not entity:
        raise InputError("WANDB_ENTITY is not set; set it to the W&B user or team that owns the project")
    _, project = read_destination()
    dashboard = build_dashboard(study.name, list(find_records(study)), entity, project)
    try:
        logger.info("%s", dashboard.save().url)
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot save the dashboard of {entity}/{project}: {reason}") from None


def build_dashboard(study: str, records: list[Record], entity: str, project: str) -> ws.Workspace:
    """Build the workspace that shows `records`, with runs grouped by variant and averaged over seeds."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{study}: comparison of variants",
        sections=[
            _quality(records),
            _training(records),
            _costs(records),
            _pictures(records),
            _tables(records),
        ],
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=f"Config('study') == {study!r}",
            groupby=[ws.Config("variant")],
            order=[ws.Ordering(ws.Config("variant"), ascending=True)],
        ),
    )


def _quality(records: list[Record]) -> ws.Section:
    scores = [key for key in _summary_keys(records) if key.endswith(SHOWN)]
    return ws.Section(
        name="Quality",
        panels=[
            wr.BarPlot(title=key, metrics=[wr.SummaryMetric(key)], **_over_seeds()) for key in sorted(scores)
        ],
        is_open=True,
    )


def _training(records: list[Record]) -> ws.Section:
    curves = {key for record in records for values in record.history.values() for key in values}
    return ws.Section(
        name="Training",
        panels=[wr.LinePlot(title=key, x="Step", y=[key], **_over_seeds()) for key in sorted(curves)],
        is_open=True,
    )


def _costs(records: list[Record]) -> ws.Section:
    keys = _summary_keys(records)
    costs = [key for key in keys if key.endswith("/latency_ms") or key == "parameters_m"]
    scores = [key for key in keys if key.endswith("/psnr_rgb")]
    return ws.Section(
        name="Quality versus cost",
        panels=[
            wr.ScatterPlot(
                title=f"{score} versus {cost}", x=wr.SummaryMetric(cost), y=wr.SummaryMetric(score)
            )
            for score in sorted(scores)
            for cost in sorted(costs)
        ],
        is_open=True,
    )


def _pictures(records: list[Record]) -> ws.Section:
    keys = sorted({key for record in records for key in record.pictures})
    return ws.Section(name="Images", panels=[wr.MediaBrowser(title=key, media_keys=[key]) for key in keys])


def _tables(records: list[Record]) -> ws.Section:
    keys = sorted({key for record in records for key in record.tables})
    return ws.Section(name="Tables", panels=[wr.WeavePanelSummaryTable(table_name=key) for key in keys])


def _summary_keys(records: list[Record]) -> set[str]:
    return {key for record in records for key in record.summary}


def _over_seeds() -> dict[str, Any]:
    return {"groupby": wr.Config("variant"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
