"""One process at a time in a run directory, also across machines and after a crash.

`lock` in the directory names its owner. The operating system's file lock decides between processes that see
it, and ends with its holder, however that died. Some network file systems keep file locks to one machine; so
the owner also touches the file regularly, and one on another machine counts as alive while it does.
"""

import errno
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

logger = logging.getLogger("vsrbench")

HEARTBEAT = 15.0  # seconds between two signs of life
DEAD_AFTER = 90.0  # seconds without one


@dataclass(frozen=True)
class Owner:
    """Who holds, or last held, a run directory."""

    host: str
    pid: int
    slurm_job: str | None
    attempt: int  # how many owners the directory has had, this one included
    token: str
    released: bool = False

    @classmethod
    def after(cls, previous: "Owner | None") -> Self:
        return cls(
            host=platform.node(),
            pid=os.getpid(),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
            attempt=previous.attempt + 1 if previous else 1,
            token=uuid.uuid4().hex,
        )

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job}" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, attempt {self.attempt}"


class LockLost(InputError):
    """Another owner has taken the directory, believing this one dead, or may have done so unseen."""


class HeldLock:
    """The lock while it is held."""

    def __init__(self, file: IO[str], owner: Owner):
        self.owner = owner
        self._file, self._alive = file, time.monotonic()  # the last sign of life
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock heartbeat")

    def check(self) -> None:
        """Raise LockLost if the directory is no longer this process's.

        The lock file is read each time: after a stall another may have it that no heartbeat has seen yet.
        """
        owner = _read(self._file)
        if owner is not None and owner.token != self.owner.token:
            raise LockLost(
                f"{self._file.name}: taken over by {owner}, which thought this process dead; nothing to do"
            )
        if owner is None and time.monotonic() - self._alive > DEAD_AFTER:
            raise LockLost(
                f"{self._file.name}: missing or unreadable for {DEAD_AFTER:.0f} s, so another process may "
                "have taken over; start again once it can be read"
            )

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT):
            with suppress(OSError, LockLost):  # ESTALE and the like pass; check() says what is lost
                self.check()
                os.utime(self._file.name)
                self._alive = time.monotonic()


@contextmanager
def lock_run(run: Path, give_up: Callable[[], bool] = lambda: False) -> Iterator[HeldLock | None]:
    """Hold a run directory; wait, saying for whom, while another process does.

    Gives None, without the lock, as soon as `give_up()` is true while waiting. Raises OSError where the
    directory cannot be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "lock", "a+") as file:
        previous = _wait_for_turn(file, run, give_up)
        if previous is _GAVE_UP:
            yield None
            return
        held = HeldLock(file, Owner.after(previous))
        _write(file, held.owner)
        held._thread.start()
        try:
            yield held
        finally:
            held._end.set()
            held._thread.join()
            if _read(file) == held.owner:
                _write(file, held.owner, released=True)


_GAVE_UP = object()


def _wait_for_turn(file: IO[str], run: Path, give_up: Callable[[], bool]):
    """The owner before, once it is gone and the file lock is held; or _GAVE_UP."""
    told = None
    while not give_up():
        locked = _try_file_lock(file)
        owner = _read(file)
        if locked is not False and not _lives_elsewhere(owner, file, locks_work=locked is True):
            if owner and not owner.released:
                logger.warning("%s: %s ended without a word; going on in its place", run, owner)
            return owner
        if locked:
            fcntl.flock(file, fcntl.LOCK_UN)
        if owner != told:
            logger.warning("%s: in use by %s; waiting for it", run, owner or "another process")
            told = owner
        time.sleep(1.0)
    return _GAVE_UP


def _try_file_lock(file: IO[str]) -> bool | None:
    """True if taken, False if another process has it, None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
        raise


def _lives_elsewhere(owner: Owner | None, file: IO[str], locks_work: bool) -> bool:
    """Whether an owner that the file lock says nothing about has given a sign of life lately."""
    if owner is None or owner.released or (locks_work and owner.host == platform.node()):
        return False
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as now:  # the file system's own clock
        now.write(b"now")
        now.flush()
        return os.fstat(now.fileno()).st_mtime - os.stat(file.name).st_mtime < DEAD_AFTER


def _read(file: IO[str]) -> Owner | None:
    try:
        return Owner(**json.loads(Path(file.name).read_text()))
    except (OSError, ValueError, TypeError):
        return None  # empty, torn, or gone


def _write(file: IO[str], owner: Owner, released: bool = False) -> None:
    file.seek(0)
    file.truncate()
    json.dump(asdict(owner) | {"released": released}, file)
    file.flush()
    os.fsync(file.fileno())
