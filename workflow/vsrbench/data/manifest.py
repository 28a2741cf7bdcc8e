"""Manifests: what a data set was when it was verified or generated, with a sha256 per clip."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.files import atomic_write, sha256
from vsrbench.data.degradation import SCALE


def write_manifest(
    path: Path, dataset: str, root: Path, degradation: str, clips: list[dict[str, Any]], **facts: Any
) -> None:
    """Write atomically. `clips`: an entry each with name, split, frames, height, width (of the ground truth),
    sha256 (`digest`) and, unless the clip was generated, `fingerprint`."""
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
        remedy = wrong_file_remedy("one that `vsrbench verify` or `vsrbench generate` wrote")
        raise InputError(f"{path}: not a manifest; {remedy}") from None
    if degradation not in (None, found):
        raise InputError(f"{path}: degradation is {found}, the study asks for {degradation}; use other data")
    return manifest


def holds(entry: dict[str, Any], files: Sequence[Path]) -> bool:
    """Whether a clip's files are those that its entry was made from.

    Sizes and times tell quickly. Where they differ, as after a copy, the contents are read; so they are for
    generated clips, whose manifest tells no times, to be the same wherever it is made.
    """
    return entry.get("fingerprint") == fingerprint(files) or entry["sha256"] == digest(files)


def fingerprint(files: Iterable[Path]) -> str:
    """One sha256 over names, sizes and times (whole ns) of files: another one when a file is replaced."""
    facts = []
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; restore this file") from None
        facts.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def digest(files: Sequence[Path]) -> str:
    """One sha256 over the contents of files and their names below the folder that holds them all."""
    folder = os.path.commonpath([path.parent for path in files])
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()
