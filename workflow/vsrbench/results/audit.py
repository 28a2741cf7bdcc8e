"""Walk a study's chain from its tables back to the source frames, and say where it is broken."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vsrbench.core.errors import InputError
from vsrbench.core.files import sha256
from vsrbench.core.lineage import FOLDER, KINDS, Artefact, ancestry, chain_digest, locate, recorded
from vsrbench.core.provenance import STEPS, code_digest

BROKEN, MISSING, ORPHANED, OTHER_CODE = "broken", "missing", "orphaned", "made by other code"
_ENDS = ("table", "figure", "report", "findings")
_APART = (
    *(*_ENDS, "gate", "flow provenance", "flow training log", "settings", "manifest", "frame store"),
    *("weights of a sweep", "training log of a sweep"),
)


@dataclass(frozen=True)
class Finding:
    """One fault: what is wrong with which artefact, in one line."""

    fault: str  # BROKEN, MISSING, ORPHANED or OTHER_CODE
    artefact: Artefact
    line: str


def audit(study: Path, *, deep: bool = False) -> tuple[int, list[Finding]]:
    """Check every artefact of a study against its record and its sources; return their number and the faults.

    Without `deep`, arrays of frame stores and sample frames are compared by size only. Raises InputError for
    a folder without records.
    """
    study = Path(study)
    if not (study / FOLDER).is_dir():
        raise InputError(
            f"{study}: has no {FOLDER}/, so nothing in it can be verified; restore that folder, or move the "
            "study away and run it again"
        )
    artefacts = list(recorded(study))
    with ThreadPoolExecutor() as pool:
        found = [finding for some in pool.map(partial(_check, deep=deep), artefacts) for finding in some]
    found += _without_record(study, artefacts)
    found += _of_other_code(artefacts)
    found += _orphaned(artefacts)
    return len(artefacts), found


def confirm_chain(study: Path, printed: str) -> str | None:
    """Return how the chain's digest differs from the one `printed` in the study's tables; None if equal."""
    table = locate(study / "tables" / "ablations.csv")
    assert table is not None
    sources = [study / name for name in table.read_record()["sources"]]
    present = chain_digest(*sources)
    return None if present == printed else f"its header says chain {printed}, the records say {present}"


def _check(artefact: Artefact, deep: bool) -> list[Finding]:
    if not artefact.path.exists():
        return [Finding(MISSING, artefact, f"{artefact}: is missing")]
    try:
        artefact.check(read=deep or not artefact.kind.large)
        if artefact.kind.name == "frame store":
            _check_store(artefact.path, deep)
    except InputError as error:
        return [Finding(BROKEN, artefact, str(error))]
    return []


def _check_store(index: Path, deep: bool) -> None:
    for clip in json.loads(index.read_bytes())["clips"]:
        for name, facts in clip["files"].items():
            path = index.parent / clip["name"] / name
            if not path.is_file() or path.stat().st_size != facts["bytes"]:
                raise InputError(f"{path}: is missing or cut short; run `make study` to store it again")
            if deep and sha256(path) != facts["sha256"]:
                raise InputError(
                    f"{path}: changed since store wrote it; run `vsrbench repair --deep` to store it again"
                )


def _without_record(study: Path, artefacts: list[Artefact]) -> Iterator[Finding]:
    known = {artefact.name for artefact in artefacts}
    for kind in KINDS:
        for path in sorted(study.glob(kind.pattern.replace("{}", "*"))):
            artefact = locate(path)
            unfinished = kind.made_with is not None and not path.with_name(kind.made_with).exists()
            hidden = path.name[0] == "."
            if (
                artefact is None
                or artefact.kind is not kind
                or artefact.name in known
                or unfinished
                or hidden
            ):
                continue
            line = f"{artefact}: has no record in {FOLDER}/; no step of this study finished it"
            yield Finding(BROKEN, artefact, line)


def _of_other_code(artefacts: list[Artefact]) -> Iterator[Finding]:
    present = {step: code_digest(step) for step in STEPS}
    for artefact in artefacts:
        record = _record(artefact)
        step, code = str(record.get("step")), record.get("code")
        if code is not None and code != present.get(step):
            line = f"{artefact}: written by {step} with code {code}; its code is now {present.get(step)}"
            yield Finding(OTHER_CODE, artefact, line)


def _orphaned(artefacts: list[Artefact]) -> Iterator[Finding]:
    """Yield what no table, figure or report depends on, if there are any."""
    ends = [artefact for artefact in artefacts if artefact.kind.name in _ENDS]
    try:
        used = set(ancestry(ends))
    except InputError:
        return  # the broken link is reported by itself
    for artefact in artefacts if ends else ():
        if artefact.name not in used and artefact.kind.name not in _APART:
            yield Finding(ORPHANED, artefact, f"{artefact}: no table depends on it")


def _record(artefact: Artefact) -> dict[str, Any]:
    try:
        return artefact.read_record()
    except InputError:
        return {}  # reported as broken
