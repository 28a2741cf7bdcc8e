"""Training checkpoints: written atomically, verified when read; the last two are kept.

A checkpoint is `<iteration>.<digest>.pt`, with the digest of the file's contents.
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
    """Write `state` (tensors and plain values), then delete all but the last KEPT checkpoints.

    Returns the path of the new checkpoint.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"{iteration:08d}.{_digest(buffer.getbuffer())}.pt"
    with atomic_write(path) as partial:
        partial.write_bytes(buffer.getbuffer())
    others = [other for other in list_checkpoints(folder) if other != path]
    # Checkpoints of this iteration or a later one are damaged or superseded by the run that writes this one.
    superseded = [other for other in others if _iteration(other) >= iteration]
    for old in superseded + others[len(superseded) + KEPT - 1 :]:
        old.unlink()
    return path


def load_latest(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Load the newest intact checkpoint onto the CPU; None if training starts from scratch.

    The state's "identity" must equal `identity`. A checkpoint of another training is ignored if that is
    "finished", as after a change of code, and otherwise raises InputError, since it may be days of work.
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
            f"{folder}: checkpoints of an unfinished training with {other}; finish it, or move the folder "
            "away to start over"
        )
    logger.warning("%s: checkpoints of a finished training with %s; starting over", folder, other)
    return None


@contextmanager
def room_for_checkpoints(folder: Path, needed: int) -> Iterator[None]:
    """Raise InputError if the disk has less than `needed` bytes free, or if it fills up within the block."""
    try:
        if shutil.disk_usage(folder.parent).free < needed:
            raise OSError(errno.ENOSPC, "too little free space")
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        kept = [path.name for path in list_checkpoints(folder)]
        raise InputError(
            f"{folder}: disk full: a checkpoint needs {needed / 2**20:.1f} MiB, "
            f"{shutil.disk_usage(folder.parent).free / 2**20:.1f} MiB are free; complete checkpoints: "
            f"{', '.join(kept) or 'none'}; free space and start again"
        ) from None


def list_checkpoints(folder: Path) -> list[Path]:
    """List all checkpoints in `folder`, newest first."""
    return sorted(folder.glob("[0-9]*.pt"), key=_iteration, reverse=True)


def _load(path: Path) -> dict[str, Any] | None:
    data = path.read_bytes()
    if _digest(data) != path.name.split(".")[1]:
        logger.warning("%s: damaged, its digest does not match; using the previous checkpoint", path)
        return None
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        EOFError,
    ):  # not a pickle, or one with code, which `weights_only` does not run
        state = None
    if not isinstance(state, dict) or not {"identity", "finished"} <= state.keys():
        raise InputError(f"{path}: readable, but not a training checkpoint; move it away and start again")
    return state


def _iteration(path: Path) -> int:
    return int(path.name.split(".")[0])


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
