"""Stop on a signal: finish the step, save, and exit with a code that means "resume later"."""

import logging
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn, Self

logger = logging.getLogger("vsrbench")

RESUME_LATER = os.EX_TEMPFAIL  # exit status 75

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Record SIGTERM, SIGUSR1 and SIGINT instead of terminating; true once a signal was received.

    A second SIGINT raises KeyboardInterrupt, as Ctrl-C does by default.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._record) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _record(self, number: int, _: FrameType | None) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


def resume_later(requeue: bool = True) -> NoReturn:
    """Exit with RESUME_LATER, after asking Slurm to requeue this job unless it is being cancelled.

    Slurm sends the same signals before a time limit, on preemption and on cancellation. In the first two
    cases the job is still in the state RUNNING and must requeue itself; in the last it must not.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if requeue and job and _slurm("squeue", "-h", "-j", job, "-o", "%T") == "RUNNING":
        _slurm("scontrol", "requeue", job)
    sys.exit(RESUME_LATER)


def _slurm(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("%s: %s", command[0], error)
        return ""
    if answer.returncode:
        logger.warning("%s: %s", " ".join(command), answer.stderr.strip())
    return answer.stdout.strip()
