"""Manifests: what a data set was when it was verified or generated, with a sha256 per clip."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vsrbench.data.degradation import SCALE
from vsrbench.errors import InputError, another
from vsrbench.files import atomic_write, sha256


def write_manifest(
    path: Path, dataset: str, root: Path, degradation: str, clips: list[dict[str, Any]], **facts: Any
) -> None:
    """Write atomically. `clips`: an entry each with name, split, frames, height, width (of the ground truth)
    and sha256."""
    path = Path(path)
    manifest = {
        "dataset": dataset,
        "root": os.path.relpath(root, path.parent),  # so that results and data can be moved together
        "degradation": degradation,
        "scale": SCALE,
        **facts,
        "clips": clips,
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n")


def read_manifest(path: Path, degradation: str | None = None) -> dict[str, Any]:
    """What `write_manifest` wrote; an InputError if it is of another degradation than the one asked for."""
    path = Path(path)
    try:
        manifest = json.loads(path.read_text())
        manifest["root"] = os.path.normpath(path.parent / manifest["root"])
        found = manifest["degradation"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; generate or verify the data set first") from None
    except (ValueError, KeyError, TypeError):
        remedy = another("one that `vsrbench verify` or `vsrbench generate` wrote")
        raise InputError(f"{path}: not a manifest; {remedy}") from None
    if degradation not in (None, found):
        raise InputError(f"{path}: degradation is {found}, the study asks for {degradation}; use other data")
    return manifest


def digest(folder: Path, paths: Iterable[Path]) -> str:
    """One sha256 over the names (relative to `folder`) and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()
