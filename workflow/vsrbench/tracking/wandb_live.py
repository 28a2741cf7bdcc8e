"""Show trainings in Weights & Biases while they run, from the files that they write anyway.

One process beside Snakemake follows every `train.jsonl` of a study; no training imports W&B or waits for it.
A run is opened with the id of its mirror (`wandb_mirror`) and resumed, so the service itself says which steps
it has: whatever happens to a training, to this process or to the network, no point is sent twice and none is
left out. The mirror completes a run after its training has ended.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
import wandb

from vsrbench.core.errors import InputError
from vsrbench.results.run_records import Record, find_runs, read_run
from vsrbench.tracking.followed_runs import (
    follow_alone,
    forget_followed,
    mark_followed,
    unmark_followed,
)
from vsrbench.tracking.wandb_mirror import check_login, files_kept_in, open_run
from vsrbench.tracking.wandb_settings import read_destination

OPENING_SECONDS = 20  # how long opening a run may take; the next look tries again

logger = logging.getLogger("vsrbench")


def follow(study: Path, *, until_pid: int | None = None, interval: int = 10) -> None:
    """Show the study's trainings in W&B as they run, looking every `interval` seconds.

    Ends when the process `until_pid` has; without it, when no training is left that has begun and not ended.
    Does nothing unless W&B is online, or if another process follows this study already. Raises InputError
    without a W&B login.
    """
    mode, project = read_destination()
    if mode != "online":
        return
    check_login()
    with follow_alone(study, patience=5) as alone:
        if not alone:
            logger.info("%s: another process follows this study", study)
            return
        forget_followed(study)
        with files_kept_in(study / "wandb"):
            follower = _Follower(study, project)
            while True:
                is_any_open = follower.look()
                if not (psutil.pid_exists(until_pid) if until_pid else is_any_open):
                    break
                time.sleep(interval)
            follower.close()


class _Follower:
    """The runs that are open, by the folder of their training."""

    def __init__(self, study: Path, project: str):
        self.study, self.project = study, project
        self.open: dict[Path, _OpenRun] = {}
        self.seen: dict[Path, tuple[int, int]] = {}  # when each log was written that was read, and its size
        self.is_published = False

    def look(self) -> bool:
        """Send what is new, open runs that have begun, close those that ended; return whether any is open."""
        for folder, config in find_runs(self.study):
            has_ended = (folder / "weights.safetensors").is_file()
            if folder not in self.open and has_ended:
                continue
            with suppress(InputError, OSError, ValueError, wandb.Error):  # being replaced, or no network
                status = (folder / "train.jsonl").stat()
                written = status.st_mtime_ns, status.st_size
                if has_ended or written != self.seen.get(folder):
                    self._show(folder, read_run(config, folder))
                    self.seen[folder] = written
                if has_ended:
                    self.open.pop(folder).close()
        return bool(self.open)

    def close(self) -> None:
        """Send what is left and close all runs."""
        self.look()
        while self.open:
            self.open.popitem()[1].close()

    def _show(self, folder: Path, record: Record) -> None:
        if folder in self.open and self.open[folder].run_id != record.run_id:  # with other settings
            self.open.pop(folder).close()
        if folder not in self.open and record.history:
            self.open[folder] = _OpenRun(record, self.study, self.project)
        if folder in self.open:
            self.open[folder].show(record)
            self._publish()

    def _publish(self) -> None:
        """Publish the study's dashboard with its first curves, if an entity is named."""
        noted = self.study / "wandb" / "dashboard"
        if self.is_published or noted.is_file() or not os.environ.get("WANDB_ENTITY"):
            return
        from vsrbench.tracking.wandb_dashboard import publish_dashboard

        self.is_published = True  # or tried: the study does not depend on it
        try:
            publish_dashboard(self.study)
            noted.touch()
        except InputError as error:
            logger.warning("%s", error)


class _OpenRun:
    """A run of W&B that goes on where the service's history of it ends."""

    def __init__(self, record: Record, study: Path, project: str):
        self.run_id, self.study = record.run_id, study
        self.run = open_run(
            record,
            study,
            project,
            mode="online",
            resume="allow",
            reinit="create_new",  # many runs in one process
            init_timeout=OPENING_SECONDS,
        )
        mark_followed(study, self.run_id)
        self.next_step = self.run.starting_step

    def show(self, record: Record) -> None:
        """Send the points of a training that are not there yet."""
        for iteration, values in record.history.items():
            if iteration >= self.next_step:
                self.run.log(values, step=iteration, commit=True)
                self.next_step = iteration + 1
        self.run.summary.update(record.summary)

    def close(self) -> None:
        """Wait until all has arrived."""
        self.run.finish()
        unmark_followed(self.study, self.run_id)
