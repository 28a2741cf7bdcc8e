"""Files that are either whole or not there, and what to do where the system refuses one."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]  # of the repository

_REMEDIES = {
    errno.ENOSPC: "free space on that disk and start again",
    errno.EDQUOT: "free some of your quota and start again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and start again",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and start again",
    errno.EACCES: "ask for the right to use it, or choose another place",
    errno.EPERM: "ask for the right to use it, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "correct the path, or restore it",
    errno.ENOTDIR: "correct the path: a part of it is a file",
    errno.EISDIR: "correct the path: it is a folder",
    errno.EEXIST: "correct the path: it is taken",
    errno.EIO: "check the disk, and start again",
}


def explain(error: OSError) -> str | None:
    """Path, fault and remedy in one line; None for an error that is not about a file or folder."""
    if error.filename is None or error.errno not in _REMEDIES:
        return None
    return f"{error.filename}: {os.strerror(error.errno)}; {_REMEDIES[error.errno]}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in the errors of the block that writes it: a failed write names no file by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        # numpy reports a write that was cut short without a number.
        raise OSError(error.errno or errno.ENOSPC, str(error), str(path)) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Creates the folder. After a crash at any moment `path` is the old file or the new one, never a part.
    The temporary name keeps the suffix, since many writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with writing(path):
            yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Delete what writers that were killed have left in `folder`; nobody else may be writing there."""
    for partial in Path(folder).rglob(".*.partial*"):
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The digest of a file's bytes, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
