"""Atomic writing of files, file locks, and remedies for errors of the file system."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[3]  # the repository

_REMEDIES = {
    errno.ENOSPC: "free space on that disk and start again",
    errno.EDQUOT: "free some of your quota and start again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and start again",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and start again",
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
    errno.EROFS: "choose a writable path",
    errno.ENOENT: "correct the path, or restore it",
    errno.ENOTDIR: "correct the path: a part of it is a file",
    errno.EISDIR: "correct the path: it is a folder",
    errno.EEXIST: "correct the path: it already exists",
    errno.EIO: "check the disk, and start again",
}


def explain(error: OSError) -> str | None:
    """Describe path, error and remedy in one line; None for an error that does not concern a file."""
    if error.filename is None or error.errno not in _REMEDIES:
        return None
    return f"{error.filename}: {os.strerror(error.errno)}; {_REMEDIES[error.errno]}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add `path` to any OSError of the block that writes it: a failed write does not name its file."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        # numpy reports a write that was cut short without a number.
        raise OSError(error.errno or errno.ENOSPC, str(error), str(path)) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` if the block succeeds.

    Creates the folder. After a crash at any moment, `path` is the complete old or new file. The temporary
    name keeps the suffix, since many writers choose the format by it. Raises OSError naming the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with writing(path):
            yield partial
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Rename a complete file to `path`, in the same folder; returns when contents and name are on disk."""
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_partials(folder: Path) -> None:
    """Delete the temporary files of killed writers in `folder`; no other process may be writing there."""
    for partial in Path(folder).rglob(".*.partial*"):
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Compute the sha256 of a file's contents, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_file_lock(file: IO[str]) -> bool | None:
    """Return True if taken, False if another process has it, None if the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
        raise
