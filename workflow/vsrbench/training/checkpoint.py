"""Training checkpoints: written atomically, verified when read; the last two are kept.

A checkpoint is `attempt_<number>/<iteration>.<digest>.pt`, with the digest of the file's contents. Each start
of a run claims a number of its own (`claim_attempt`), and writes only while it has the highest: two hosts
whose file locks do not reach each other cannot both write checkpoints that count.

Those of a finished training can give way to its result (`keep_result`): what a repeated start needs in order
to train nothing again, at no cost in disk.
"""

import errno
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, publish, sha256, writing
from vsrbench.core.old_results import refuse_old_names
from vsrbench.training.run_lock import LockLost

logger = logging.getLogger("vsrbench")

KEPT = 2
RESULT = "finished.json"  # a finished training without its tensors, which are those of its weights


def claim_attempt(folder: Path) -> Path:
    """Create and return the folder of a new attempt, which outranks all others.

    Creating a folder is atomic, also on network file systems: no two attempts get one number.
    """
    while True:
        attempt = folder / f"attempt_{1 + max(map(_attempt, folder.glob('attempt_*')), default=0):06d}"
        try:
            attempt.mkdir(parents=True)
            return attempt
        except FileExistsError:
            continue  # claimed by another process in between


def check_attempt(attempt: Path) -> None:
    """Raise LockLost if another process has claimed a later attempt at the run."""
    latest = max(attempt.parent.glob("attempt_*"), key=_attempt, default=attempt)
    if _attempt(latest) > _attempt(attempt):
        raise LockLost(f"{attempt}: superseded by {latest.name} of another process; no action needed")


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], attempt: Path | None = None) -> Path:
    """Write `state` (tensors and plain values), then delete all but the last KEPT checkpoints.

    `attempt` is the folder that `claim_attempt` returned, None where only this process can write. Raises
    LockLost if it is no longer the latest. Returns the path of the new checkpoint.
    """
    if attempt is not None:
        check_attempt(attempt)
    path = _write(attempt or folder, iteration, state)
    others = [
        other
        for other in list_checkpoints(folder)
        if other != path and _attempt(other.parent) <= _attempt(path.parent)
    ]
    # Checkpoints of this iteration or a later one are damaged or superseded by the run that writes this one.
    kept = [other for other in others if _iteration(other) < iteration][: KEPT - 1]
    for old in set(others).difference(kept):
        old.unlink(missing_ok=True)
    for earlier in folder.glob("attempt_*"):
        if attempt is not None and _attempt(earlier) < _attempt(attempt):
            with suppress(OSError):  # not empty
                earlier.rmdir()
    return path


def load_latest(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Load the newest intact checkpoint onto the CPU; None if training starts from scratch.

    The state's "identity" must equal `identity`. A checkpoint of another training is ignored if that is
    "finished", as after a change of code, and otherwise raises InputError, since it may be days of work.
    """
    state = next(filter(None, map(_load, list_checkpoints(folder))), None) or _load_result(folder)
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


def keep_result(folder: Path, weights: Path, identity: dict[str, Any]) -> int:
    """Replace the checkpoints of a finished training by a link to its weights; return the bytes freed.

    0, and nothing is changed, if the newest checkpoint is not that of this training, finished. The link
    outlives `weights`, which Snakemake deletes before it starts a step again. The caller holds the lock.
    """
    checkpoints = list_checkpoints(folder)
    state = next(filter(None, map(_load, checkpoints)), None)
    if state is None or not state["finished"] or state["identity"] != identity:
        return 0
    digest = _digest(weights)
    linked = _linked(folder, digest)
    for earlier in folder.glob(_linked(folder, "*").name):
        if earlier != linked:
            earlier.unlink()
    if not linked.is_file():
        _link(weights, linked)
    plain = {key: value for key, value in state.items() if key not in ("network", "average", "optimizer")}
    groups = state["optimizer"]["param_groups"]
    with atomic_write(folder / RESULT) as partial:
        partial.write_text(json.dumps(plain | {"param_groups": groups, "weights": digest}) + "\n")
    freed = 0
    for path in checkpoints:
        freed += path.stat().st_size
        path.unlink()
    return freed


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
    """List all checkpoints in `folder`, newest attempt and, of an attempt, newest first."""
    found = [*folder.glob("[0-9]*.pt"), *folder.glob("attempt_*/[0-9]*.pt")]
    return sorted(found, key=lambda path: (_attempt(path.parent), _iteration(path)), reverse=True)


def _write(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Stream `state` to a file, tensor by tensor, and name it by its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{iteration:08d}.{os.getpid()}.partial.pt"
    try:
        with writing(partial), open(partial, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch fails again while it closes what it could not write
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        path = folder / f"{iteration:08d}.{_digest(partial)}.pt"
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _load(path: Path) -> dict[str, Any] | None:
    """Map the file into memory, from which each tensor is read when it is copied to the network."""
    if _digest(path) != path.name.split(".")[1]:
        logger.warning("%s: damaged, its digest does not match; using the previous checkpoint", path)
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # Not an archive of tensors, or one with code, which `weights_only` does not run.
    except (pickle.UnpicklingError, EOFError, RuntimeError):
        state = None
    if not isinstance(state, dict) or not {"identity", "finished"} <= state.keys():
        raise InputError(f"{path}: readable, but not a training checkpoint; move it away and start again")
    return state


def _load_result(folder: Path) -> dict[str, Any] | None:
    """Return the state of a finished training whose checkpoints were removed; None if there is none."""
    try:
        state: dict[str, Any] = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    weights = _linked(folder, state.pop("weights"))
    if not weights.is_file() or _digest(weights) != weights.name.split(".")[1]:
        logger.warning("%s: missing or damaged; training again", weights)
        return None
    tensors = load_file(weights)
    optimizer = {"state": {}, "param_groups": state.pop("param_groups")}
    return state | {"network": tensors, "average": tensors, "optimizer": optimizer}


def _linked(folder: Path, digest: str) -> Path:
    return folder / f"finished.{digest}.safetensors"


def _link(weights: Path, linked: Path) -> None:
    """Link a file, or copy it on a file system that has no links."""
    try:
        os.link(weights, linked)
    except OSError:
        with atomic_write(linked) as partial:
            shutil.copyfile(weights, partial)


def _attempt(folder: Path) -> int:
    number = folder.name.removeprefix("attempt_")
    return int(number) if number.isdecimal() else 0  # 0: written before attempts had folders


def _iteration(path: Path) -> int:
    return int(path.name.split(".")[0])


def _digest(path: Path) -> str:
    return sha256(path)[:16]
