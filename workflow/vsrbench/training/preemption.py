"""Stopping on request: finish the step, save, leave with a code that means "go on later"."""

import logging
import os
import signal
import subprocess
import sys
from typing import Self

logger = logging.getLogger("vsrbench")

GO_ON_LATER = 75  # EX_TEMPFAIL of sysexits.h

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Notes SIGTERM, SIGUSR1 and SIGINT instead of dying of them; true once one has come.

    A second SIGINT ends the process at once, as Ctrl-C does elsewhere.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


def go_on_later(requeue: bool = True) -> None:
    """Leave with GO_ON_LATER, after asking Slurm to start this job again where it is not being cancelled.

    Slurm sends the same signals before a time limit, at a preemption and at a cancellation. In the first two
    the job still counts as running, and is lost unless it puts itself back; in the last it must not do so.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if requeue and job and _slurm("squeue", "-h", "-j", job, "-o", "%T") == "RUNNING":
        _slurm("scontrol", "requeue", job)
    sys.exit(GO_ON_LATER)


def _slurm(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("%s: %s", command[0], error)
        return ""
    if answer.returncode:
        logger.warning("%s: %s", " ".join(command), answer.stderr.strip())
    return answer.stdout.strip()
