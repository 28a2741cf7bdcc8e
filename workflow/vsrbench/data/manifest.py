"""Manifests: the contents of a data set when it was verified or generated, with a sha256 per clip."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.lineage import check
from vsrbench.data.degradation import SCALE


def write_manifest(
    path: Path, dataset: str, root: Path, degradation: str, clips: list[dict[str, Any]], **facts: Any
) -> None:
    """Write a manifest atomically.

    clips: one entry per clip with name, split, frames, height and width (of the ground truth), sha256
    (`digest`) and, unless the clip was generated, `fingerprint`.
    """
    path = Path(path)
    manifest = {
        "dataset": dataset,
        "root": os.path.relpath(
            root, path.parent
        ),  # relative, so that results and data can be moved together
        "degradation": degradation,
        "scale": SCALE,
        **facts,
        "clips": clips,
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n")


def read_manifest(path: Path, degradation: str | None = None) -> dict[str, Any]:
    """Read a manifest; InputError if it is missing, damaged or of another degradation than `degradation`."""
    path = Path(path)
    check(path)
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        manifest["root"] = os.path.normpath(path.parent / manifest["root"])
        found = manifest["degradation"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; generate or verify the data set first") from None
    except (ValueError, KeyError, TypeError):
        remedy = wrong_file_remedy("one that `vsrbench verify` or `vsrbench generate` wrote")
        raise InputError(f"{path}: not a manifest; {remedy}") from None
    if degradation not in (None, found):
        raise InputError(f"{path}: expected degradation {degradation}, got {found}; use other data")
    return manifest


def holds(entry: dict[str, Any], files: Sequence[Path]) -> bool:
    """Check whether a clip's files are those that its manifest entry describes.

    Sizes and modification times are compared first. If they differ, as after a copy, the contents are; also
    for generated clips, whose entries contain no times so that manifests are reproducible.
    """
    return entry.get("fingerprint") == fingerprint(files) or entry["sha256"] == digest(files)


def fingerprint(files: Iterable[Path]) -> str:
    """Compute a sha256 over names, sizes and modification times (ns); it changes if a file is replaced."""
    facts = []
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; restore this file") from None
        facts.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def digest(files: Sequence[Path]) -> str:
    """Compute a sha256 over the contents of files and their paths relative to their common folder."""
    folder = os.path.commonpath([path.parent for path in files])
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()
