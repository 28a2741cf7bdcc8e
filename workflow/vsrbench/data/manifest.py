"""Manifests: what a data set was when it was verified or generated, with a sha256 per clip."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from vsrbench.data.degradation import SCALE
from vsrbench.errors import InputError
from vsrbench.files import atomic_write


def write_manifest(path: Path, dataset: str, degradation: str, clips: list[dict], settings: dict) -> None:
    """`clips`: one entry each with name, split, frames, height, width (ground truth) and sha256."""
    manifest = {"dataset": dataset, "degradation": degradation, "scale": SCALE, **settings, "clips": clips}
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n")


def read_manifest(path: Path, dataset: str, degradation: str) -> dict:
    """The manifest at `path`; an InputError if it is of another data set or degradation."""
    try:
        manifest = json.loads(Path(path).read_text())
        found = {key: manifest[key] for key in ("dataset", "degradation", "clips")}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; generate or verify {dataset} first") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a manifest; delete it and run the study again") from None
    for key, wanted in (("dataset", dataset), ("degradation", degradation)):
        if found[key] != wanted:
            raise InputError(
                f"{path}: {key} is {found[key]}, the study asks for {wanted}; use other data or ask for it"
            )
    return manifest


def digest(folder: Path, paths: Iterable[Path]) -> str:
    """One sha256 over the names (relative to `folder`) and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
