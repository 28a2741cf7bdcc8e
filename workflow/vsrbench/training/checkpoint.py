"""Checkpoints: whole or not there, verified when read, the last two kept.

A checkpoint is `<iteration>.<digest>.pt`, where the digest is that of the file's own bytes.
"""

import errno
import hashlib
import io
import logging
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write
from vsrbench.core.old_results import refuse_old_names

logger = logging.getLogger("vsrbench")

KEPT = 2


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Write `state` (tensors and plain values), then remove all but the last KEPT."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"{iteration:08d}.{_digest(buffer.getbuffer())}.pt"
    with atomic_write(path) as partial:
        partial.write_bytes(buffer.getbuffer())
    others = [other for other in list_checkpoints(folder) if other != path]
    # One as far as the new one, or farther, is damaged or superseded; the run now goes another way.
    passed_over = [other for other in others if _iteration(other) >= iteration]
    for old in passed_over + others[len(passed_over) + KEPT - 1 :]:
        old.unlink()
    return path


def load_latest(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The newest whole checkpoint, its tensors on the CPU; None where training is to begin anew.

    The state's "identity" must be `identity`. One of another training is passed over if that is "finished",
    as after a change of code, and else an InputError: days of work are not thrown away unasked.
    """
    state = next(filter(None, map(_load, list_checkpoints(folder))), None)
    refuse_old_names(folder, state["identity"] if state else ())
    if state is None or state["identity"] == identity:
        return state
    known = state["identity"]
    key = next(key for key in known | identity if known.get(key) != identity.get(key))
    other = f"{key} {known.get(key)} instead of {identity.get(key)}"
    if not state["finished"]:
        raise InputError(
            f"{folder}: of an unfinished training with {other}; finish it, or move the folder away to train "
            "anew"
        )
    logger.warning("%s: of a finished training with %s; training anew", folder, other)
    return None


@contextmanager
def room_for_checkpoints(folder: Path, needed: int) -> Iterator[None]:
    """Raise InputError if the disk has no room for `needed` bytes, now, or when it is found full later."""
    try:
        if shutil.disk_usage(folder.parent).free < needed:
            raise OSError(errno.ENOSPC, "too little room")
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        kept = [path.name for path in list_checkpoints(folder)]
        raise InputError(
            f"{folder}: disk full: a checkpoint needs {needed / 2**20:.1f} MiB, "
            f"{shutil.disk_usage(folder.parent).free / 2**20:.1f} MiB are free; whole checkpoints: "
            f"{', '.join(kept) or 'none'}; make room and start again"
        ) from None


def list_checkpoints(folder: Path) -> list[Path]:
    """All checkpoints, the newest first."""
    return sorted(folder.glob("[0-9]*.pt"), key=_iteration, reverse=True)


def _load(path: Path) -> dict[str, Any] | None:
    data = path.read_bytes()
    if _digest(data) != path.name.split(".")[1]:
        logger.warning("%s: torn or changed, its digest is another; taking the one before", path)
        return None
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError):  # no pickle, or one of code, which `weights_only` does not run
        state = None
    if not isinstance(state, dict) or not {"identity", "finished"} <= state.keys():
        raise InputError(f"{path}: whole, but no checkpoint of a training; move it away and start again")
    return state


def _iteration(path: Path) -> int:
    return int(path.name.split(".")[0])


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
