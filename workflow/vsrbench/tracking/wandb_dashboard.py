"""The W&B dashboard of a study, as code: its variants compared in quality, training, cost and pictures."""

import logging
import os
from pathlib import Path

import wandb

from vsrbench.core.errors import InputError
from vsrbench.core.metric_table import SHOWN
from vsrbench.results.run_records import Record, find_records
from vsrbench.tracking.wandb_settings import read_destination

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError:
    raise InputError("the dashboard needs wandb-workspaces; pip install wandb-workspaces") from None

logger = logging.getLogger("vsrbench")


def publish_dashboard(study: Path) -> None:
    """Save a study's dashboard as a new view of its W&B project and tell its address; `sync` comes first.

    The environment says where to: WANDB_ENTITY and, if it is another, WANDB_PROJECT. Needs a login to W&B.
    """
    entity = os.environ.get("WANDB_ENTITY")
    if not entity:
        raise InputError("WANDB_ENTITY is not set; it names the user or team that the dashboard is for")
    _, project = read_destination()
    dashboard = build_dashboard(study.name, list(find_records(study)), entity, project)
    try:
        logger.info("%s", dashboard.save().url)
    except wandb.Error as error:
        raise InputError(f"the dashboard could not be saved: {' '.join(str(error).split())}") from None


def build_dashboard(study: str, records: list[Record], entity: str, project: str) -> ws.Workspace:
    """A workspace that shows what `records` hold; runs are grouped by variant, seeds are averaged."""
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
        name="Quality against cost",
        panels=[
            wr.ScatterPlot(
                title=f"{score} against {cost}", x=wr.SummaryMetric(cost), y=wr.SummaryMetric(score)
            )
            for score in sorted(scores)
            for cost in sorted(costs)
        ],
        is_open=True,
    )


def _pictures(records: list[Record]) -> ws.Section:
    keys = sorted({key for record in records for key in record.pictures})
    return ws.Section(name="Pictures", panels=[wr.MediaBrowser(title=key, media_keys=[key]) for key in keys])


def _tables(records: list[Record]) -> ws.Section:
    keys = sorted({key for record in records for key in record.tables})
    return ws.Section(name="Tables", panels=[wr.WeavePanelSummaryTable(table_name=key) for key in keys])


def _summary_keys(records: list[Record]) -> set[str]:
    return {key for record in records for key in record.summary}


def _over_seeds() -> dict[str, str]:
    return {"groupby": wr.Config("variant"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
