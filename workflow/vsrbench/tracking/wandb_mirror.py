"""Mirror a study into Weights & Biases: one run for each variant and seed, however many attempts it took.

The files of the study are the truth and W&B is never read. Every run is written whole from them, as an
offline run under `results/<study>/wandb/`, and written anew when they change, since an offline run cannot
be resumed; one that the study no longer has is removed. W&B's own `sync` replays them into the service under
ids that stay the same, so a repetition overwrites and never duplicates.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import wandb

from vsrbench.core.errors import InputError
from vsrbench.results.run_records import Record, find_records
from vsrbench.tracking.wandb_settings import read_destination

UPLOAD_SECONDS = 1800
# A lost network is noticed after one repetition, not after hours; the next sync goes on from there.
RETRIES = {f"WANDB_X_{part}_RETRY_MAX": "1" for part in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")}

logger = logging.getLogger("vsrbench")


def sync(study: Path) -> None:
    """Write what changed in the folder of a study as offline W&B runs; upload if the environment says so.

    It does with WANDB_MODE=online, and with WANDB_API_KEY set and no WANDB_MODE; WANDB_PROJECT and
    WANDB_ENTITY say where to. A network that is gone is a warning, an upload without a login an InputError.
    """
    mode, project = read_destination()
    if mode == "disabled":
        return
    with _files_kept_in(study / "wandb"):
        records = find_records(study)
        folders = [_written(record, study) or _write(record, study, project) for record in records]
        wandb.teardown()
    names = {folder.name for folder in folders}
    for folder in study.glob("wandb/offline-run-*"):
        if folder.name not in names:
            shutil.rmtree(folder)
    logger.info("%d W&B runs in %s", len(folders), study / "wandb")
    if mode == "online":
        _upload(folders, study)


@contextmanager
def _files_kept_in(folder: Path) -> Iterator[None]:
    """Caches, and tables that wait for their upload, lie with the study and not in the home directory."""
    names = [f"WANDB_{place}_DIR" for place in ("DATA", "CACHE", "CONFIG")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str((folder / "cache").resolve())))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _written(record: Record, study: Path) -> Path | None:
    """The run's folder if it shows just this; whatever else there is of it is removed."""
    kept = None
    for folder in study.glob(f"wandb/offline-run-*-{record.name}-*"):
        digest = folder / "digest"
        if digest.is_file() and digest.read_text() == record.digest():
            kept = folder
        else:
            shutil.rmtree(folder)
    return kept


def _write(record: Record, study: Path, project: str) -> Path:
    settings = wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        # The machine that mirrors is not the one that trained; that one is in the configuration.
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    with wandb.init(
        project=project,
        dir=study,
        id=record.run_id,
        name=record.name,
        group=record.group,
        job_type=record.job_type,
        tags=record.tags,
        config=record.config,
        settings=settings,
    ) as run:
        for iteration, values in record.history.items():
            run.log(values, step=iteration)
        if media := _media(record):
            run.log(media, step=max(record.history, default=0))
        run.summary.update({key: value for key, value in record.summary.items() if value is not None})
    folder = Path(run.dir).parent
    (folder / "digest").write_text(record.digest())
    return folder


def _media(record: Record) -> dict[str, list[wandb.Image] | wandb.Table]:
    pictures = {
        key: [wandb.Image(str(path), caption=path.stem) for path in paths]
        for key, paths in record.pictures.items()
    }
    return pictures | {key: wandb.Table(dataframe=table) for key, table in record.tables.items()}


def _upload(folders: list[Path], study: Path) -> None:
    waiting = [folder for folder in folders if not _is_uploaded(folder)]
    if not waiting:
        return
    if not _is_logged_in():
        raise InputError(
            "WANDB_MODE is online and W&B finds no login; "
            "run wandb login, or set WANDB_API_KEY, or WANDB_MODE=offline"
        )
    command = [sys.executable, "-m", "wandb", "sync"]
    for option in ("entity", "project"):
        if value := os.environ.get(f"WANDB_{option.upper()}"):
            command += [f"--{option}", value]
    environment = RETRIES | os.environ | {"WANDB_MODE": "online", "WANDB_DIR": str(study)}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, *map(str, waiting)], env=environment, timeout=UPLOAD_SECONDS)
    left = sum(not _is_uploaded(folder) for folder in waiting)
    if left:
        logger.warning("%d of %d W&B runs are not uploaded yet; repeat vsrbench sync", left, len(waiting))


def _is_logged_in() -> bool:
    """Whether W&B's client finds a login: in the environment, in ~/.netrc or in its own settings."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return wandb.login(prompt=False)
    except wandb.Error:
        return True  # one was found; whether the service takes it, or is there at all, shows in the upload
    finally:
        wandb.teardown()


def _is_uploaded(folder: Path) -> bool:
    """Whether W&B has left its mark, which goes with the folder when the run is written anew."""
    return any(folder.glob("*.wandb.synced"))
