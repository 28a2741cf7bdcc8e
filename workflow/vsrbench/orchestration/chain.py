"""`vsrbench check` and `vsrbench repair`: verify a study against its records, and regenerate what differs."""

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from vsrbench.core.config import read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.lineage import FOLDER, Artefact
from vsrbench.data.datasets import load_clips
from vsrbench.data.manifest import digest, read_manifest
from vsrbench.data.store_frames import store_split
from vsrbench.results.audit import BROKEN, MISSING, ORPHANED, OTHER_CODE, Finding, audit, confirm_chain

Make = Callable[[Sequence[str]], None]  # regenerate these files of the study, even if they exist


def check(study: Path, *, deep: bool = False) -> None:
    """Print what is broken, missing, orphaned or made by other code in a study, and count it.

    `deep` also reads the frame stores, sample frames and source frames. Raises InputError if anything is
    broken or missing, or if the tables' header names another chain.
    """
    number, findings = audit(study, deep=deep)
    for finding in findings:
        print(f"{finding.fault}: {finding.line}")
    wrong = _wrong_header(study) + (_changed_clips(study) if deep else [])
    print(*(f"{BROKEN}: {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
    counts = Counter(finding.fault for finding in findings) + Counter({BROKEN: len(wrong)})
    listed = ", ".join(f"{counts[fault]} {fault}" for fault in (BROKEN, MISSING, ORPHANED, OTHER_CODE))
    print(f"{number} artefacts: {listed}")
    if counts[BROKEN] + counts[MISSING]:
        raise InputError(f"{study}: its chain is broken; run `make study` to repair it")


def _wrong_header(study: Path) -> list[str]:
    table = study / "tables" / "ablations.csv"
    try:
        with open(table, newline="") as file:
            printed = {row["chain"] for row in csv.DictReader(file)}
        faults = [confirm_chain(study, chain) for chain in printed]
    except OSError:
        return []  # missing, or not made yet
    except (KeyError, csv.Error):
        return [f"{table}: names no chain"]
    except InputError as error:
        return [str(error)]
    return [f"{table}: {fault}" for fault in faults if fault]


def _changed_clips(study: Path) -> list[str]:
    """Read the source frames of every data set."""
    faults = []
    for path in sorted(study.glob("data/*/manifest.json")):
        try:
            entries = read_manifest(path)["clips"]
            recorded = {(entry["split"], entry["name"]): entry["sha256"] for entry in entries}
            for split in dict.fromkeys(split for split, _ in recorded):
                for clip in load_clips(path, split):
                    if digest(clip.files) != recorded[split, clip.name]:
                        faults.append(
                            f"{clip.gt[0].parent}: clip {clip.name} changed since {path} was written"
                        )
        except InputError as error:
            faults.append(str(error))
    return faults


def repair(study: Path, *, config: Path | None = None, cores: int = 2, deep: bool = False) -> None:
    """Regenerate what is broken or missing in a study, and only that.

    A file that is regenerated bit for bit gets its old modification time back, so that Snakemake repeats
    nothing that depends on it. `config` is the study file, by default `workflow/config/<study>.yaml`.
    Raises InputError for a study file that cannot be read, and for a study that has lost its records.
    """
    config = config or Path("workflow", "config", f"{study.name}.yaml")
    read_yaml(config)

    def snakemake(targets: Sequence[str]) -> None:
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", str(config)]
        options = ["--nolock", "--rerun-incomplete", "--quiet", "rules", "host", "--force", "--"]
        if subprocess.run([*command, *options, *targets]).returncode:
            raise InputError(f"{study}: {targets[0]} could not be regenerated; see the messages above")

    make_again(study, snakemake, deep=deep)


def make_again(study: Path, make: Make, *, deep: bool = False) -> list[Finding]:
    """Let `make` repeat the steps behind what is broken or missing; return what that was."""
    if not (study / FOLDER).is_dir() and not any(study.glob("runs/*/seed_*/weights.safetensors")):
        return []  # not begun
    _, findings = audit(study, deep=deep)
    damaged = [finding for finding in findings if finding.fault in (BROKEN, MISSING)]
    for finding in damaged:
        print(f"repair: {finding.line}", flush=True)
    stores = [finding.artefact for finding in damaged if _only_arrays(finding)]
    for store in stores:
        modified = store.path.stat().st_mtime_ns
        store_split(store.path.parents[2] / "manifest.json", store.path.parent.name, store.path)
        os.utime(store.path, ns=(modified, modified))
    others = [finding.artefact for finding in damaged if finding.artefact not in stores]
    wanted = [artefact for artefact in others if not _unused_store(artefact)]
    if wanted:
        make(list(dict.fromkeys(map(_target, wanted))))
        for artefact in wanted:
            _restore_time(artefact)
    return damaged


def _only_arrays(finding: Finding) -> bool:
    """Whether a frame store's index is intact: building it again then stores only the damaged clips."""
    if finding.artefact.kind.name != "frame store" or finding.fault == MISSING:
        return False
    try:
        finding.artefact.check()
    except InputError:
        return False
    return True


def _unused_store(artefact: Artefact) -> bool:
    """Whether a store was removed, as to free the disk: what is trained has its record, and needs no more."""
    return artefact.kind.name == "frame store" and not artefact.path.exists()


def _target(artefact: Artefact) -> str:
    beside = artefact.kind.made_with
    path = artefact.path if beside is None else artefact.path.with_name(beside)
    return os.path.relpath(path)


def _restore_time(artefact: Artefact) -> None:
    """Give an artefact the time of its record: that is kept where the same comes out again."""
    if artefact.path.is_file() and artefact.record_path.is_file():
        modified = artefact.record_path.stat().st_mtime_ns
        os.utime(artefact.path, ns=(modified, modified))
