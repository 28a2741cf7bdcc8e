"""What a study's runs have to show, gathered from its files: settings, curves, scores, pictures, tables."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from models.baselines import BASELINES, SEED
from vsrbench.core.config import read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.old_results import refuse_old_study
from vsrbench.core.provenance import config_digest
from vsrbench.results.statistics import average_clips
from vsrbench.results.study_results import read_rows

PICTURES = 4  # restored frames for each data set


@dataclass
class Record:
    """One run as a reader sees it, however many attempts it took."""

    name: str
    group: str
    job_type: str  # train, baseline or tables
    identity: dict[str, Any]  # what makes it another run if it changes
    config: dict[str, Any]
    tags: list[str]
    history: dict[int, dict[str, float]] = field(default_factory=dict)  # by iteration
    summary: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, list[Path]] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The same for every attempt and on every machine."""
        return f"{self.name}-{config_digest(self.identity)[:8]}"

    def digest(self) -> str:
        """Over everything that the run shows."""
        plain = [self.run_id, self.group, self.job_type, self.config, self.tags, self.history, self.summary]
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for key, paths in sorted(self.pictures.items()):
            for path in paths:
                digest.update(f"{key} {path.name}".encode() + path.read_bytes())
        for key, table in sorted(self.tables.items()):
            digest.update(key.encode() + table.to_csv().encode())
        return digest.hexdigest()


def find_records(study_folder: Path) -> Iterator[Record]:
    """One for each training that has begun, one for each baseline, one for the study's tables.

    Of a study whose table is there, what it does not rest on is left out, unless it is newer: see `_current`.
    Raises InputError for a folder that holds no study, and for a log that cannot be read.
    """
    refuse_old_study(study_folder)
    if not (study_folder / "configs").is_dir():
        raise InputError(
            f"{study_folder}: not a study (configs/ is missing); name a folder such as results/demo"
        )
    is_current = _current(study_folder)
    for run, variant in find_runs(study_folder):
        if is_current(run):
            yield _training(study_folder, variant, run, is_current)
    study = {"study": study_folder.name}
    for name in BASELINES:
        config = study | {"variant": name, "seed": SEED}
        baseline = Record(f"{name}-seed_{SEED}", name, "baseline", study, config, [*study.values()])
        _add_scores(baseline, study_folder, name, SEED, is_current)
        if baseline.tables:
            yield baseline
    tables = {path.stem: pd.read_csv(path) for path in sorted(study_folder.glob("tables/*.csv"))}
    if tables:
        figures = {path.stem: [path] for path in sorted(study_folder.glob("figures/*.png"))}
        yield Record(
            "tables", "tables", "tables", study, study, [*study.values()], pictures=figures, tables=tables
        )


def find_runs(study_folder: Path) -> Iterator[tuple[Path, Path]]:
    """Return the folder of each training that has begun, and the variant's file in `configs/`."""
    for variant in sorted(study_folder.glob("configs/*.yaml")):
        for run in sorted(study_folder.glob(f"runs/{variant.stem}/seed_*")):
            yield run, variant


def _current(study_folder: Path) -> Callable[[Path], bool]:
    """Whether the study's table names a run or an evaluation, or that has come since.

    The others are of variants, seeds and data sets that the study no longer has. Without a table, all are.
    """
    table = study_folder / "tables" / "ablations.csv"
    if not table.is_file():
        return lambda path: True
    rows = pd.read_csv(table, keep_default_na=False)
    named = {name for cell in (*rows["runs"], *rows["evaluations"]) for name in cell.split()}
    made = table.stat().st_mtime
    return lambda path: path.relative_to(study_folder).as_posix() in named or path.stat().st_mtime > made


def read_run(config: Path, run: Path) -> Record:
    """Read what a training has to show while it runs: its settings and curves, and the attempt it is in."""
    variant = read_yaml(config)
    name, seed = variant["variant"], int(run.name.removeprefix("seed_"))
    record = Record(
        name=f"{name}-seed_{seed}",
        group=name,
        job_type="loaded" if variant.get("weights") else "train",
        identity={key: variant[key] for key in ("study", "degradation", "model", "training")},
        config=variant | {"seed": seed},
        tags=[variant["study"], variant["degradation"]],
        history=read_history(run / "train.jsonl"),
    )
    if not (run / "weights.safetensors").is_file():  # the last file that a training writes
        record.tags.append("unfinished")
        lock = run / "lock"
        if lock.is_file() and (owner := lock.read_text()):
            record.summary["attempts"] = json.loads(owner)["attempt"]
    return record


def _training(study_folder: Path, variant: Path, run: Path, is_current: Callable[[Path], bool]) -> Record:
    record = read_run(variant, run)
    weights = run / "weights.safetensors"
    if weights.is_file():
        facts = json.loads((run / "provenance.json").read_text())
        for key in ("code_digest", "revision", "uncommitted_changes", "machine", "machines"):
            record.config[key] = facts.get(key)
        for key in ("started", "ended", "attempts", "device_hours", "energy_kwh", "peak_memory_gib"):
            record.summary[key] = facts.get(key)
        with weights.open("rb") as file:
            record.summary["weights_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    _add_scores(record, study_folder, record.group, record.config["seed"], is_current)
    _add_runtime(record, study_folder / "runtime" / f"{record.group}.json")
    return record


def read_history(log: Path) -> dict[int, dict[str, float]]:
    """Return the numbers of a `train.jsonl` by iteration, in order, each once; {} without a file.

    A last line that has no end is still being written, and left out.
    """
    history: dict[int, dict[str, float]] = {}
    lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        try:
            values = json.loads(line)
            iteration = values.pop("iteration")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{log}: line {number} records no iteration; remove it or repeat the training"
            ) from None
        numbers = {key: value for key, value in values.items() if isinstance(value, int | float)}
        history.setdefault(iteration, {}).update(numbers)
    return {iteration: history[iteration] for iteration in sorted(history) if history[iteration]}


def _add_scores(
    record: Record, study_folder: Path, variant: str, seed: int, is_current: Callable[[Path], bool]
) -> None:
    """Means by data set, a table of clips, a few restored frames."""
    files = [*filter(is_current, sorted(study_folder.glob(f"evaluations/*/{variant}/seed_{seed}.csv")))]
    if not files:
        return
    clips = average_clips(pd.concat([read_rows(file) for file in files]))
    record.tables["clips"] = clips.reset_index().dropna(axis=1, how="all")
    for dataset, means in clips.groupby("dataset").mean().iterrows():
        record.summary |= {f"{dataset}/{metric}": mean for metric, mean in means.dropna().items()}
    for file in files:
        frames = sorted(file.with_suffix("").glob("*.png"))[:PICTURES]
        if frames:
            record.pictures[f"restored/{file.parts[-3]}"] = frames


def _add_runtime(record: Record, path: Path) -> None:
    for found in json.loads(path.read_text())["measurements"] if path.is_file() else []:
        size = f"runtime_{found['height']}x{found['width']}"
        record.summary[f"{size}/latency_ms"] = found["latency_ms"]["median"]
        if found.get("disturbed"):
            record.summary[f"{size}/disturbed"] = found["disturbed"]
        for key in ("peak_memory_gib", "peak_rss_gib", "gflops_per_frame"):
            record.summary[f"{size}/{key}"] = found[key]
        record.summary["parameters_m"] = found["parameters_m"]
