"""What a person did wrong, said in one line."""

from collections.abc import Iterable


class InputError(Exception):
    """A fault in something that came from outside: a configuration, a clip, a checkpoint, the machine.

    The message is one line that names the file, the key or frame, and the remedy. The command line
    prints it without a traceback and exits with status 2.
    """


def check_known(kind: str, name: str, known: Iterable[str], where: str = "") -> None:
    """Raise InputError, which lists the known names, unless `name` is one of them."""
    known = list(known)
    if name not in known:
        prefix = f"{where}: " if where else ""
        raise InputError(f"{prefix}unknown {kind} {name!r}; expected one of {', '.join(known)}")


def another(written: str) -> str:
    """The remedy for a file that is not `written`: it may be anybody's own, so nothing is to be deleted."""
    return f"name {written}, or, if it is the study's own, move it away and run the study again"
