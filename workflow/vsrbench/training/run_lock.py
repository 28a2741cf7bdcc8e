"""A lock on a run directory that holds across machines and survives crashes.

The file `lock` in the directory names its owner. The operating system's file lock decides between processes
that see it, and is released when its holder ends for any reason. Some network file systems keep file locks
local to one machine; therefore the owner also touches the file regularly, and an owner on another machine is
considered alive as long as it does.
"""

import fcntl
import json
import logging
import os
import platform
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from vsrbench.core.errors import InputError
from vsrbench.core.files import try_file_lock

logger = logging.getLogger("vsrbench")

HEARTBEAT = 15.0  # seconds between heartbeats
DEAD_AFTER = 90.0  # seconds without a heartbeat


@dataclass(frozen=True)
class Owner:
    """The process that holds, or last held, a run directory."""

    host: str
    pid: int
    slurm_job: str | None
    attempt: int  # number of owners that the directory has had, including this one
    token: str
    released: bool = False

    @classmethod
    def after(cls, previous: "Owner | None", counted: bool = True) -> Self:
        """Describe this process as the successor of `previous`; its attempt is a new one if `counted`."""
        return cls(
            host=platform.node(),
            pid=os.getpid(),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
            attempt=(previous.attempt if previous else 0) + counted,
            token=uuid.uuid4().hex,
        )

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, attempt {self.attempt}"


class LockLost(InputError):
    """Another process has taken over the run directory, or may have done so unnoticed."""


class HeldLock:
    """A lock that is held; a thread sends its heartbeats."""

    def __init__(self, file: IO[str], owner: Owner):
        self.owner = owner
        self._file, self._alive = file, time.monotonic()  # time of the last heartbeat
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock heartbeat")

    def check(self) -> None:
        """Raise LockLost if this process no longer owns the directory.

        The lock file is read on each call: after a stall, another process may own it already.
        """
        owner = read_owner(Path(self._file.name))
        if owner is not None and owner.token != self.owner.token:
            raise LockLost(
                f"{self._file.name}: taken over by {owner} after heartbeats stopped; no action needed"
            )
        if owner is None and time.monotonic() - self._alive > DEAD_AFTER:
            raise LockLost(
                f"{self._file.name}: missing or unreadable for {DEAD_AFTER:.0f} s, so another process may "
                "have taken over; start again when it is readable"
            )

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT):
            with suppress(
                OSError, LockLost
            ):  # errors such as ESTALE are transient; check() reports a lost lock
                self.check()
                os.utime(self._file.name)
                self._alive = time.monotonic()


@contextmanager
def lock_run(
    run: Path, give_up: Callable[[], bool] = lambda: False, *, counted: bool = True
) -> Iterator[HeldLock | None]:
    """Lock a run directory; while another process holds it, log its name and wait.

    An owner that does not train is not `counted` as an attempt.
    Yields None, without the lock, if `give_up()` becomes true while waiting. Raises OSError if the directory
    cannot be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "lock", "a+") as file:
        taken, previous = _wait_for_lock(file, run, give_up)
        if not taken:
            yield None
            return
        held = HeldLock(file, Owner.after(previous, counted))
        _write(file, held.owner)
        held._thread.start()
        try:
            yield held
        finally:
            held._end.set()
            held._thread.join()
            if read_owner(Path(file.name)) == held.owner:
                _write(file, held.owner, released=True)


def _wait_for_lock(file: IO[str], run: Path, give_up: Callable[[], bool]) -> tuple[bool, Owner | None]:
    """Wait for the file lock and the owner's end; returns whether it was taken, and the previous owner."""
    reported = None
    while not give_up():
        locked = try_file_lock(file)
        owner = read_owner(Path(file.name))
        if locked is not False and not _lives_elsewhere(owner, file, locks_work=locked is True):
            if owner and not owner.released:
                logger.warning("%s: %s ended without releasing the lock; taking over", run, owner)
            return True, owner
        if locked:
            fcntl.flock(file, fcntl.LOCK_UN)
        if owner != reported:
            logger.warning("%s: in use by %s; waiting for it", run, owner or "another process")
            reported = owner
        time.sleep(1.0)
    return False, None


def _lives_elsewhere(owner: Owner | None, file: IO[str], locks_work: bool) -> bool:
    """Check the heartbeat of an owner on another machine, or on a file system without file locks."""
    if owner is None or owner.released or (locks_work and owner.host == platform.node()):
        return False
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as now:  # the file system's own clock
        now.write(b"now")
        now.flush()
        return os.fstat(now.fileno()).st_mtime - os.stat(file.name).st_mtime < DEAD_AFTER


def read_owner(lock: Path) -> Owner | None:
    """Read who holds, or last held, a run directory; None if its lock is empty, incomplete or missing."""
    try:
        return Owner(**json.loads(lock.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: IO[str], owner: Owner, released: bool = False) -> None:
    file.seek(0)
    file.truncate()
    json.dump(asdict(owner) | {"released": released}, file)
    file.flush()
    os.fsync(file.fileno())
