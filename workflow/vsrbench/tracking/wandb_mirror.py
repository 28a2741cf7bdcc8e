"""Mirror a study to Weights & Biases: one run per variant and seed, regardless of the number of attempts.

The study's files are the only source; W&B is never read. Every run is written from them as a complete
offline run under `results/<study>/wandb/`, and rewritten when they change, since an offline run cannot be
resumed; a run that the study no longer has is removed. `wandb sync` uploads the runs under fixed ids, so that
repeating it overwrites runs and never duplicates them.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import wandb

from vsrbench.core.errors import InputError
from vsrbench.results.run_records import Record, find_records
from vsrbench.tracking.followed_runs import is_followed
from vsrbench.tracking.wandb_settings import read_destination

UPLOAD_SECONDS = 1800
CLOSING_SECONDS = 120  # for the process that shows a training as it runs to close it
# Give up on a lost connection after one retry, not after hours; the next sync continues from there.
RETRIES = {f"WANDB_X_{part}_RETRY_MAX": "1" for part in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")}

logger = logging.getLogger("vsrbench")


def sync(study: Path) -> None:
    """Write what changed in the folder of a study as offline W&B runs, and upload them in online mode.

    The mode is online if WANDB_MODE is, or if WANDB_API_KEY is set and WANDB_MODE is not; WANDB_PROJECT and
    WANDB_ENTITY name the destination. A lost connection is logged as a warning. Raises InputError for an
    upload without a login and for settings that W&B would reject.
    """
    mode, project = read_destination()
    if mode == "disabled":
        return
    with files_kept_in(study / "wandb"):
        records = list(find_records(study))
        folders = [_written(record, study) or _write(record, study, project) for record in records]
        wandb.teardown()
    names = {folder.name for folder in folders}
    for folder in study.glob("wandb/offline-run-*"):
        if folder.name not in names:
            shutil.rmtree(folder)
    logger.info("%d W&B runs in %s", len(folders), study / "wandb")
    if mode == "online":
        _upload(
            [folder for folder, record in zip(folders, records, strict=True) if _is_free(record, study)],
            study,
        )


@contextmanager
def files_kept_in(folder: Path) -> Iterator[None]:
    """Keep W&B's caches, and tables pending upload, with the study instead of the home directory."""
    names = [f"WANDB_{place}_DIR" for place in ("DATA", "CACHE", "CONFIG")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str((folder / "cache").resolve())))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _written(record: Record, study: Path) -> Path | None:
    """Return the run's folder if it is up to date; remove outdated folders of the run."""
    kept = None
    for folder in study.glob(f"wandb/offline-run-*-{record.name}-*"):
        digest = folder / "digest"
        if digest.is_file() and digest.read_text() == record.digest():
            kept = folder
        else:
            shutil.rmtree(folder)
    return kept


def _write(record: Record, study: Path, project: str) -> Path:
    with open_run(record, study, project, mode="offline") as run:
        for iteration, values in record.history.items():
            run.log(values, step=iteration)
        if media := _media(record):
            run.log(media, step=max(record.history, default=0))
        run.summary.update({key: value for key, value in record.summary.items() if value is not None})
    folder = Path(run.dir).parent
    (folder / "digest").write_text(record.digest())
    return folder


def open_run(record: Record, study: Path, project: str, **settings: Any) -> wandb.Run:
    """Open the W&B run that shows a record, under its fixed id; `settings` are W&B's."""
    return wandb.init(
        project=project,
        dir=study,
        id=record.run_id,
        name=record.name,
        group=record.group,
        job_type=record.job_type,
        tags=record.tags,
        config=record.config,
        settings=wandb.Settings(
            silent=True,
            console="off",
            # This machine is not the one that trained, which the configuration describes.
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            **settings,
        ),
    )


def _media(record: Record) -> dict[str, list[wandb.Image] | wandb.Table]:
    pictures = {
        key: [wandb.Image(str(path), caption=path.stem) for path in paths]
        for key, paths in record.pictures.items()
    }
    return pictures | {key: wandb.Table(dataframe=table) for key, table in record.tables.items()}


def _is_free(record: Record, study: Path) -> bool:
    """Tell whether no other process has the run open, and wait for that if its training has ended."""
    ends = time.monotonic() + (0 if "unfinished" in record.tags else CLOSING_SECONDS)
    while is_followed(study, record.run_id):
        if time.monotonic() > ends:
            logger.info("%s is being shown as it trains; its mirror is uploaded once that ends", record.name)
            return False
        time.sleep(1)
    return True


def _upload(folders: list[Path], study: Path) -> None:
    waiting = [folder for folder in folders if not _is_uploaded(folder)]
    if not waiting:
        return
    check_login()
    command = [sys.executable, "-m", "wandb", "sync"]
    for option in ("entity", "project"):
        if value := os.environ.get(f"WANDB_{option.upper()}"):
            command += [f"--{option}", value]
    environment = RETRIES | os.environ | {"WANDB_MODE": "online", "WANDB_DIR": str(study)}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, *map(str, waiting)], env=environment, timeout=UPLOAD_SECONDS)
    left = sum(not _is_uploaded(folder) for folder in waiting)
    if left:
        logger.warning("%d of %d W&B runs are not uploaded yet; run vsrbench sync again", left, len(waiting))


def check_login() -> None:
    """Raise InputError without a W&B login."""
    if not _is_logged_in():
        raise InputError(
            "WANDB_MODE is online, but there is no W&B login; "
            "run wandb login, or set WANDB_API_KEY, or WANDB_MODE=offline"
        )


def _is_logged_in() -> bool:
    """Whether W&B's client finds a login in the environment, in ~/.netrc or in its own settings."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return wandb.login(prompt=False)
    except wandb.Error:
        return True  # a login was found; the upload shows whether the service accepts it
    finally:
        wandb.teardown()


def _is_uploaded(folder: Path) -> bool:
    """Whether W&B has marked the run as synced; the mark is removed when the run is rewritten."""
    return any(folder.glob("*.wandb.synced"))
