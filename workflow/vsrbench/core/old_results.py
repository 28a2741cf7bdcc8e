"""Recognise what vsrt-bench 0.1 wrote: its settings, columns and folders had other names and are refused."""

from collections.abc import Iterable
from pathlib import Path

from vsrbench.core.errors import InputError

_FOLDER = "recipes"  # in a study's folder
# Settings of a variant, columns of an evaluation, keys of a checkpoint's identity.
_NAMES = {"position_encoding", "recompute", "t_of", "t_lp", "recipe"}


def refuse_old_names(path: Path, names: Iterable[str]) -> None:
    """Raise InputError where `names`, read from `path`, include one that only 0.1 wrote."""
    for name in names:
        if name in _NAMES:
            raise _old(path, name)


def refuse_old_study(folder: Path) -> None:
    """Raise InputError for the folder of a study that 0.1 ran."""
    if (folder / _FOLDER).is_dir():
        raise _old(folder, f"{_FOLDER}/")


def _old(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: written by vsrt-bench 0.1 (it has {name}), which this version does not read; move the "
        "study's folder away and run the study again"
    )
