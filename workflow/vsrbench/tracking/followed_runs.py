"""Which runs of a study a process shows in W&B while they train, so that no second writer opens them."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsrbench.core.files import try_file_lock

_RUNS = "wandb/followed"  # below the study: a file for each run that is open
_LOCK = "wandb/.follow.lock"


@contextmanager
def follow_alone(study: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock of the study's follower, and yield whether it was free; a killed process frees it.

    `patience`: seconds to wait for it, since whoever asks whether a run is followed holds it for a moment.
    """
    path = study / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + patience
    with path.open("w") as lock:
        while not (is_free := try_file_lock(lock) is not False) and time.monotonic() < ends:
            time.sleep(0.1)
        yield is_free


def mark_followed(study: Path, run_id: str) -> None:
    """Note that a run is open."""
    mark = study / _RUNS / run_id
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def forget_followed(study: Path) -> None:
    """Remove the notes of an earlier follower, which was killed."""
    shutil.rmtree(study / _RUNS, ignore_errors=True)


def unmark_followed(study: Path, run_id: str) -> None:
    """Note that a run has been closed."""
    (study / _RUNS / run_id).unlink(missing_ok=True)


def is_followed(study: Path, run_id: str) -> bool:
    """Tell whether a process that follows the study has the run open."""
    if not (study / _RUNS / run_id).is_file():
        return False
    with follow_alone(study) as nobody:
        return not nobody
