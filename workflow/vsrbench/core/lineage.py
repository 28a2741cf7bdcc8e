"""The chain from source frames to the cells of a table: one record for each artefact of a study.

The step that writes an artefact records its sha256 and the digests of what it was made from, in
`results/<study>/lineage/<path of the artefact>.json`. Whatever reads the artefact checks it against its
record, and the record against those of its sources. Records hold neither times nor absolute paths: a study
can be checked wherever it lies, and an artefact that is made again bit for bit has the same record.

A folder without `lineage/` is not checked: it was put together by hand.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.provenance import STEPS, code_digest, config_digest

FOLDER = "lineage"
OUTSIDE = "outside/"  # before the name of a source that no step of the study writes
_KEYS = {"path", "step", "code", "bytes", "sha256", "content", "sources"}
REMEDY = "restore it, or run `make study` to regenerate it"


def digest_of(path: Path) -> str:
    """Compute the sha256 of a file, or of the names and contents of all files in a folder."""
    if not path.is_dir():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != "."):
        total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return total.hexdigest()


def _settings(path: Path) -> str:
    """Digest of what a variant's results depend on: not its title or question."""
    variant = yaml.safe_load(path.read_bytes())
    return config_digest({key: variant.get(key) for key in ("degradation", "model", "training")})


def _clips(path: Path) -> str:
    """Digest of a manifest without what depends on the place of the data: its root, modification times."""
    manifest = json.loads(path.read_bytes())
    manifest.pop("root", None)
    for clip in manifest.get("clips", ()):
        clip.pop("fingerprint", None)
    return config_digest(manifest)


@dataclass(frozen=True)
class Kind:
    """A kind of artefact; `{}` in its pattern stands for one part of a path below `results/<study>/`."""

    name: str
    pattern: str
    content: Callable[[Path], str] = digest_of  # what a record of something made from it holds
    made_with: str | None = None  # the file beside it that Snakemake is asked for; None if that is itself
    large: bool = False  # compared by its size unless everything is read

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches the absolute path of an artefact, and gives it as `name`."""
        return re.compile(r"/(?P<name>" + re.escape(self.pattern).replace(r"\{\}", "[^/]+") + ")$")


KINDS = (
    Kind("settings", "configs/{}.yaml", content=_settings),
    Kind("manifest", "data/{}/manifest.json", content=_clips),
    Kind("frame store", "data/{}/store/{}/index.json"),
    Kind("flow weights", "flow/weights.safetensors"),
    Kind("flow provenance", "flow/provenance.json"),
    Kind("flow training log", "flow/train.jsonl", made_with="weights.safetensors"),
    Kind("weights", "runs/{}/seed_{}/weights.safetensors"),
    Kind("provenance", "runs/{}/seed_{}/provenance.json"),
    Kind("training log", "runs/{}/seed_{}/train.jsonl", made_with="weights.safetensors"),
    Kind("weights of a sweep", "tuning/{}/rate_{}/seed_{}/weights.safetensors"),
    Kind("provenance of a sweep", "tuning/{}/rate_{}/seed_{}/provenance.json"),
    Kind("training log of a sweep", "tuning/{}/rate_{}/seed_{}/train.jsonl", made_with="weights.safetensors"),
    Kind("learning rate", "tuning/{}.json"),
    Kind("scores", "evaluations/{}/{}/seed_{}.csv"),
    Kind("sample frames", "evaluations/{}/{}/seed_{}", large=True),
    Kind("gate", "evaluations/{}/gate.json"),
    Kind("inspection", "inspections/{}/{}/seed_{}.safetensors"),
    Kind("reach", "reach/{}/{}/seed_{}.safetensors"),
    Kind("runtime", "runtime/{}.json"),
    Kind("trainings on k-patterns", "runs/{}/{}/n_{}.csv"),
    Kind("provenance of trainings on k-patterns", "runs/{}/{}/n_{}.json"),
    Kind("table", "tables/{}.{}"),
    Kind("figure", "figures/{}.{}"),
    Kind("gradients at initialisation", "gradients.csv"),  # after the table of that name, which ends alike
    Kind("report", "report.html"),
    Kind("findings", "findings.rst"),
)


@dataclass(frozen=True)
class Artefact:
    """A file or folder that a step of a study writes."""

    study: Path  # results/<study>
    name: str  # path below it
    kind: Kind

    def __str__(self) -> str:
        """Return its path for messages: relative to the working directory if it lies below that."""
        here = Path.cwd()
        return str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.study / self.name

    @property
    def record_path(self) -> Path:
        """Where its record lies."""
        return self.study / FOLDER / f"{self.name}.json"

    def read_record(self) -> dict[str, Any]:
        """Return its record; InputError if that is missing, damaged or another artefact's."""
        try:
            record: dict[str, Any] = json.loads(self.record_path.read_bytes())
            if record["path"] == self.name and set(record) >= _KEYS:
                return record
            fault = f"belongs to {record['path']}"
        except FileNotFoundError:
            fault = "is missing"
        except (OSError, ValueError, KeyError, TypeError):
            fault = "is damaged"
        where = f"{FOLDER}/{self.name}.json"
        raise InputError(f"{self}: cannot be verified because its record {where} {fault}; {REMEDY}")

    def check(self, *, read: bool = True) -> None:
        """Raise InputError unless the artefact, and what it was made from, are what was recorded.

        `read=False` compares the size only. Of the sources, only the records are read.
        """
        record = self.read_record()
        step = record["step"]
        if _bytes(self.path) != record["bytes"] or (read and digest_of(self.path) != record["sha256"]):
            raise InputError(f"{self}: changed since {step} wrote it; {REMEDY}")
        for source, digest in record["sources"].items():
            if source.startswith(OUTSIDE):
                continue
            known = locate(self.study / source)
            if known is None or known.read_record()["content"] != digest:
                raise InputError(f"{self}: {step} made it from a different version of {source}; {REMEDY}")


@dataclass(frozen=True)
class Origin:
    """What a step works with, as it was when the step began."""

    step: str
    code: str | None
    sources: dict[Path, str]  # digest of the content, by absolute path

    def record(self, *paths: Path) -> None:
        """Record artefacts that the step has just written; paths that belong to no study are passed over.

        So are those whose sources have no record, as in a folder that was put together by hand.
        """
        sources = [source for path in self.sources if (source := locate(path)) is not None]
        if all(source.record_path.is_file() for source in sources):
            for artefact in filter(None, map(locate, paths)):
                self._record(artefact)

    def _record(self, artefact: Artefact) -> None:
        digest = digest_of(artefact.path)
        by_file = artefact.kind.content is digest_of
        record = {
            "path": artefact.name,
            "kind": artefact.kind.name,
            "step": self.step,
            "code": self.code,
            "bytes": _bytes(artefact.path),
            "sha256": digest,
            "content": digest if by_file else artefact.kind.content(artefact.path),
            "sources": {_name(path, artefact.study): self.sources[path] for path in sorted(self.sources)},
        }
        text = json.dumps(record, indent=1) + "\n"
        target = artefact.record_path
        # A record that stays keeps its time: see `orchestration.repair`.
        if not target.is_file() or target.read_bytes() != text.encode():
            with atomic_write(target) as partial:
                partial.write_text(text)


def origin(step: str, *sources: Path | None) -> Origin:
    """Take down the code of a step and the digests of its sources, before it works with them."""
    paths = [Path(path).absolute() for path in sources if path is not None]
    code = code_digest(step) if step in STEPS else None
    return Origin(step, code, {path: _content(path) for path in paths if path.exists()})


def check(*paths: Path | None) -> None:
    """Raise InputError for an artefact of a study that is not what its step recorded.

    Anything else, and what does not exist, is left to its reader.
    """
    for path in filter(None, paths):
        artefact = locate(path)
        if artefact is not None and (artefact.study / FOLDER).is_dir() and artefact.path.exists():
            artefact.check()


def locate(path: Path) -> Artefact | None:
    """Recognise an artefact by its path; None for any other file or folder."""
    whole = Path(path).absolute().as_posix()
    for kind in KINDS:
        found = kind.expression.search(whole)
        if found:
            return Artefact(Path(whole[: found.start()] or "/"), found["name"], kind)
    return None


def recorded(study: Path) -> Iterator[Artefact]:
    """Yield the artefacts that have a record, in the order of their paths."""
    folder = Path(study).absolute() / FOLDER
    for path in sorted(folder.rglob("*.json")):
        artefact = locate(study / path.relative_to(folder).with_suffix(""))
        if artefact is not None and path.name[0] != ".":
            yield artefact


def chain_digest(*paths: Path) -> str:
    """Digest (16 hex digits) of the records of artefacts of one study and of all that they were made from.

    Empty for files of no study or of one without records. Raises InputError where a record is missing.
    """
    waiting = [artefact for artefact in map(locate, paths) if artefact is not None]
    if not waiting or not (waiting[0].study / FOLDER).is_dir():
        return ""
    found = ancestry(waiting)
    lines = (f"{name} {content}\n" for name, content in sorted(found.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def ancestry(artefacts: Iterable[Artefact]) -> dict[str, str]:
    """Content digests, by name, of artefacts and of everything that they were made from."""
    found: dict[str, str] = {}
    waiting = list(artefacts)
    while waiting:
        artefact = waiting.pop()
        if artefact.name in found:
            continue
        record = artefact.read_record()
        found[artefact.name] = record["content"]
        for name, digest in record["sources"].items():
            source = locate(artefact.study / name)
            if source is None or name.startswith(OUTSIDE):
                found[name] = digest
            else:
                waiting.append(source)
    return found


def _content(path: Path) -> str:
    """Return a source's content digest: as recorded, since its reader checks it, or else computed."""
    artefact = locate(path)
    if artefact is None:
        return digest_of(path)
    if artefact.record_path.is_file():
        content: str = artefact.read_record()["content"]
        return content
    return artefact.kind.content(path)


def _name(path: Path, study: Path) -> str:
    if path.is_relative_to(study) and locate(path) is not None:
        return path.relative_to(study).as_posix()
    return OUTSIDE + path.name


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
    return path.stat().st_size
