"""`vsrbench clean`: free the disk of what a study no longer needs."""

from collections.abc import Iterator
from pathlib import Path

from vsrbench.core.errors import InputError
from vsrbench.training.checkpoint import list_checkpoints
from vsrbench.training.finished_run import tidy

MIB = 2**20


def clean(*, study: str, results: Path = Path("results"), yes: bool = False) -> None:
    """Print the bytes of checkpoints of each finished training; with `yes`, remove them.

    Weights, logs and records stay, and so does what a repeated start needs to train nothing again. Raises
    InputError for a folder that is not there.
    """
    folder = results / study
    if not folder.is_dir():
        raise InputError(f"{folder}: does not exist; name a study that has begun")
    total = 0
    for weights in _finished(folder):
        found = sum(path.stat().st_size for path in list_checkpoints(weights.parent / "checkpoints"))
        if not found:
            continue
        freed = tidy(weights) if yes else found
        total += freed
        print(f"{freed / MIB:10,.1f} MiB  {weights.parent / 'checkpoints'}")
    print(f"{total / MIB:10,.1f} MiB  {'freed' if yes else 'would be freed by --yes'}")


def _finished(folder: Path) -> Iterator[Path]:
    """Yield the weights of every training that has come to its end."""
    for pattern in ("flow", "runs/*/seed_*", "tuning/*/rate_*/seed_*"):
        yield from sorted(folder.glob(f"{pattern}/weights.safetensors"))
