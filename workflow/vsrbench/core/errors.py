"""Errors caused by invalid user input; reported in one line, without a traceback."""

from collections.abc import Iterable


class InputError(Exception):
    """Invalid input from outside the code: a configuration, a clip, a checkpoint, the machine.

    The message is one line that names the file, the key or frame, and the remedy. The command line
    prints it without a traceback and exits with status 2.
    """


def check_known(kind: str, name: str, known: Iterable[str], where: str = "") -> None:
    """Raise InputError, which lists the known names, unless `name` is one of them."""
    known = list(known)
    if name not in known:
        prefix = f"{where}: " if where else ""
        raise InputError(f"{prefix}unknown {kind} {name!r}; expected one of {', '.join(known)}")


def wrong_file_remedy(expected: str) -> str:
    """Return the remedy for a file that is not what was expected; it suggests no deletion of users' files."""
    return f"name {expected}, or, if the study wrote this file, move it away and run the study again"
