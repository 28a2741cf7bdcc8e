"""Allow one run of a study at a time, by `make` or by `snakemake`; a killed run leaves no lock behind."""

import fcntl
import os
from pathlib import Path

from vsrbench.core.errors import InputError

HELD = "VSRBENCH_STUDY_LOCK"  # set by workflow/run_study.sh, which waits for the lock and holds it


def hold_study(folder: Path) -> None:
    """Lock the folder of a study until this process exits; the kernel releases the lock in any case.

    Raises InputError if another process holds the lock. On a file system without locks, only Snakemake's own
    lock protects the folder.
    """
    if os.environ.get(HELD):
        return
    lock = folder / ".lock"
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)  # never closed
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{lock}: held by another run of this study; wait for it, or end it") from None
    except OSError:
        pass
