"""How far each training of a study is, from its files alone; without torch, and reading little of them."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from vsrbench.core.config import STUDIES, at_smaller_budgets, read_yaml, resolve_variant
from vsrbench.core.errors import InputError
from vsrbench.orchestration.study import check_trains_networks
from vsrbench.training.run_lock import DEAD_AFTER, Owner, read_owner

TAIL = 4096  # bytes that are read of a log, however long it is
SPYNET = "SPyNet"


@dataclass(frozen=True)
class Training:
    """A training that a study asks for."""

    network: str
    label: str  # its seed, and its rate in a sweep
    folder: Path
    log: Path
    iterations: int


@dataclass(frozen=True)
class Progress:
    """What is known of a training; `seconds` are of an iteration, lately."""

    training: Training
    state: str  # waiting, running, done or failed
    iteration: int = 0
    seconds: float | None = None
    loss: float | None = None
    owner: Owner | None = None  # the last process that worked on it
    reason: str = ""  # of a failure
    device_hours: float | None = None  # as its provenance counts them, of a finished training
    devices: int | None = None  # of a finished training

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last iteration at the latest rate; None before a rate was logged."""
        return None if self.seconds is None else (self.training.iterations - self.iteration) * self.seconds


def list_trainings(name: str, results: Path) -> list[Training]:
    """List every training of the study `name` in `results`.

    Its file in `workflow/config/` says which; where that is missing, the resolved variants and the runs that
    have begun do. Raises InputError if there is neither.
    """
    study, file = results / name, STUDIES / f"{name}.yaml"
    if file.is_file():
        settings = read_yaml(file)
        check_trains_networks(settings, file)
        return [*_asked_for(study, settings)]
    if not (study / "configs").is_dir():
        raise InputError(f"{file} is missing, and {study} is not a study; name a file of {STUDIES}/")
    return [*_begun(study)]


def _asked_for(study: Path, settings: dict[str, Any]) -> Iterator[Training]:
    variants = [resolve_variant(settings, name) for name in settings["variants"]]
    variants = [variant for variant in variants if not variant.weights]
    if not settings.get("flow_weights") and any(each.model.flow_source == "spynet" for each in variants):
        yield _flow(study, settings["flow_training"]["iterations"])
    tune = settings.get("tune") or {"learning_rates": (), "seeds": ()}
    for variant in variants:
        for rate in tune["learning_rates"]:
            for seed in tune["seeds"]:
                yield _sweep(study, variant.variant, f"{rate}", seed, variant.training.iterations)
    for variant in (*variants, *at_smaller_budgets(settings, variants)):
        for seed in settings["seeds"]:
            yield _run(study, variant.variant, seed, variant.training.iterations)


def _begun(study: Path) -> Iterator[Training]:
    folders = sorted(study.glob("runs/*/seed_*"), key=lambda folder: (len(folder.name), folder.name))
    seeds = list(dict.fromkeys(int(folder.name.removeprefix("seed_")) for folder in folders))
    for config in sorted(study.glob("configs/*.yaml")):
        variant = read_yaml(config)
        if variant.get("weights"):
            continue
        for seed in seeds:
            yield _run(study, variant["variant"], seed, variant["training"]["iterations"])


def _flow(study: Path, iterations: int) -> Training:
    return Training(SPYNET, "flow", study / "flow", study / "logs" / "train_flow.log", iterations)


def _sweep(study: Path, variant: str, rate: str, seed: int, iterations: int) -> Training:
    folder = study / "tuning" / variant / f"rate_{rate}" / f"seed_{seed}"
    log = study / "logs" / "tune" / f"{variant}_rate_{rate}_seed_{seed}.log"
    return Training(variant, f"rate {rate} seed {seed}", folder, log, iterations)


def _run(study: Path, variant: str, seed: int, iterations: int) -> Training:
    log = study / "logs" / "train" / f"{variant}_seed_{seed}.log"
    return Training(variant, f"seed {seed}", study / "runs" / variant / f"seed_{seed}", log, iterations)


def read_progress(training: Training, now: float, queued: Container[str] = ()) -> Progress:
    """Read the state of one training; `now` is the time of `file_system_time`, `queued` are Slurm's jobs.

    A training whose lock's owner no longer lives is not running, whatever the lock says.
    """
    if (training.folder / "weights.safetensors").is_file():  # the last file that a training writes
        return _done(training)
    last = _last_interval(training.folder / "train.jsonl")
    lock = training.folder / "lock"
    owner = read_owner(lock)
    if owner and not owner.released and _lives(owner, lock, now):
        return Progress(training, "running", **last, owner=owner)
    again = owner is not None and owner.slurm_job in queued
    reason = "" if again else _failure(training.log, lock, owner)
    return Progress(training, "failed" if reason else "waiting", **last, owner=owner, reason=reason)


def file_system_time(folder: Path) -> float:
    """Return the time by the clock of a file system, which other machines' heartbeats are written with.

    Where nothing can be written, it is that of this machine.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"now")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _done(training: Training) -> Progress:
    owner = read_owner(training.folder / "lock")
    try:
        facts = json.loads((training.folder / "provenance.json").read_bytes())
        devices = facts.get("machines", [{}])[-1].get("processes")
        hours, loss = facts.get("device_hours"), (facts.get("result") or {}).get("loss")
    except (OSError, ValueError):
        devices = hours = loss = None
    return Progress(
        training, "done", training.iterations, loss=loss, owner=owner, device_hours=hours, devices=devices
    )


def _lives(owner: Owner, lock: Path, now: float) -> bool:
    if owner.host == platform.node() and not psutil.pid_exists(owner.pid):
        return False
    return now - lock.stat().st_mtime < DEAD_AFTER


def _failure(log: Path, lock: Path, owner: Owner | None) -> str:
    """Return what ended a training that does not run; empty if it has not begun, or saved and left.

    A failed command writes the last line of its log after it has left the lock.
    """
    left = lock.stat().st_mtime_ns if owner else 0
    lines = [line for line in _tail(log) if line.strip()]
    if lines and log.stat().st_mtime_ns >= left:
        return "" if "waiting for" in lines[-1] else lines[-1].strip().removeprefix("vsrbench: ")
    if owner and not owner.released:
        return f"killed: {owner} ended without saving; it resumes from its last checkpoint"
    return ""


def _last_interval(log: Path) -> dict[str, Any]:
    """Read iteration and loss of the last complete line, and the mean seconds of an iteration."""
    intervals = []
    for line in _tail(log):
        try:
            record = json.loads(line)
            if "skipped" not in record:
                intervals.append(record)
        except (ValueError, TypeError):
            continue  # begins before the tail, or is being written
    if not intervals:
        return {}
    rates = [record["seconds_per_iteration"] for record in intervals if "seconds_per_iteration" in record]
    return {
        "iteration": intervals[-1]["iteration"],
        "loss": intervals[-1].get("loss"),
        "seconds": fmean(rates) if rates else None,
    }


def _tail(path: Path) -> list[str]:
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read(TAIL).decode(errors="replace").splitlines()
    except OSError:
        return []
