"""Tell somebody that a study has ended: the profile's `notify` command, with one line of text."""

import shlex
import subprocess
from collections.abc import Iterable, Sequence

SECONDS = 60  # that the command may take


def notify(command: str | None, text: str) -> None:
    """Run `command`, which no shell sees, with `text` as its last argument; a failure is printed.

    Nothing without a command.
    """
    if not command:
        return
    try:
        subprocess.run([*shlex.split(command), text], stdin=subprocess.DEVNULL, timeout=SECONDS, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"notify: {command}: {error}", flush=True)


def failure_text(study: str, failures: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Say in one line that a study failed, and in which jobs, by rule."""
    rules = [rule for rule, _ in failures]
    counted = ", ".join(f"{rule} ({rules.count(rule)})" for rule in dict.fromkeys(rules))
    return f"study {study} failed{f': {counted}' if counted else ''}"
