"""Split the clips of a person's own folder for training, validation and test, once and for all."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write


@dataclass(frozen=True)
class Shares:
    """What of a folder's clips is held out; the seed decides which clips that are."""

    seed: int
    validation: float  # in (0, 1)
    test: float  # in [0, 1)


def freeze_split(path: Path, names: Iterable[str], shares: Shares) -> dict[str, str]:
    """Return the split (train, validation or test) of each clip, and keep it in the file `path`.

    A clip never changes sides: those that `path` lists stay where they are, later ones are for training. The
    first time, clips are ordered by a hash of seed and name, and at least one is taken for each split with a
    share. Raises InputError for too few clips, and if `path` is damaged or was made with other shares.
    """
    names = sorted(names)
    wanted = {"seed": shares.seed, "validation": shares.validation, "test": shares.test}
    if path.is_file():
        splits = {**dict.fromkeys(names, "train"), **_read(path, wanted)}
    else:
        splits = _draw(path, names, shares)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps({**wanted, "clips": splits}, indent=1) + "\n")
    return {name: splits[name] for name in names}


def _read(path: Path, wanted: dict[str, float]) -> dict[str, str]:
    remedy = "move it away, and what was trained with it"
    try:
        kept = json.loads(path.read_text())
        found, splits = {key: kept[key] for key in wanted}, kept["clips"]
        known = set(splits.values()) <= {"train", "validation", "test"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise InputError(f"{path}: not a split; restore it, or {remedy}")
    if found != wanted:
        raise InputError(f"{path}: made with split {found}, not {wanted}; change split: back, or {remedy}")
    return dict(splits)


def _draw(path: Path, names: list[str], shares: Shares) -> dict[str, str]:
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{shares.seed} {name}".encode()).digest())
    held_out = {
        split: max(1, round(share * len(names)))
        for split, share in (("validation", shares.validation), ("test", shares.test))
        if share
    }
    if len(names) <= sum(held_out.values()):
        counts = ", ".join(f"{count} for {split}" for split, count in held_out.items())
        raise InputError(
            f"{path.parent.name}: {len(names)} clips, of which split: takes {counts}, leave none for "
            "training; cut videos into clips, add some, or set split.test to 0"
        )
    sides = [split for split, count in held_out.items() for _ in range(count)]
    sides += ["train"] * (len(names) - len(sides))
    return dict(sorted(zip(drawn, sides, strict=True)))
