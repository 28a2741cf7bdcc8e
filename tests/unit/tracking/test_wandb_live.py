"""Trainings shown while they run: by W&B's real client, at a stand-in that records what arrives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_training import write_variant
from wandb_service import wandb_service

from vsrbench.results.run_records import find_runs, read_run
from vsrbench.tracking.followed_runs import follow_alone, is_followed, mark_followed
from vsrbench.tracking.wandb_mirror import sync

POINTS, CHECKPOINT = 30, 5  # lines of each training; after as many it saves
SEEDS = (1, 2)


@pytest.fixture
def service(monkeypatch, tmp_path):
    for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with wandb_service() as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 39 + "5")
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
        yield service


@pytest.fixture
def study(tmp_path) -> Path:
    study = tmp_path / "results" / "small"
    (study / "configs").mkdir(parents=True)
    write_variant(study / "configs" / "full.yaml")
    for seed in SEEDS:
        Training(study, seed)
    return study


class Training:
    """Writes the files of a training as the trainer does, at the pace that a test sets."""

    def __init__(self, study: Path, seed: int):
        self.folder = study / "runs" / "full" / f"seed_{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lines: list[str] = []
        self.attempt = 0
        self.start()

    def start(self) -> None:
        """Begin, or go on from the last checkpoint after a kill: lines beyond it are written again."""
        self.attempt += 1
        self.lines = self.lines[: len(self.lines) // CHECKPOINT * CHECKPOINT]
        (self.folder / "lock").write_text(json.dumps({"attempt": self.attempt}))
        (self.folder / "train.jsonl").write_text("".join(self.lines))

    def step(self, number: int = 1) -> None:
        for _ in range(number):
            iteration = 10 * (len(self.lines) + 1)
            self.lines.append(json.dumps({"iteration": iteration, "loss": 1 / iteration}) + "\n")
        (self.folder / "train.jsonl").write_text("".join(self.lines))

    def finish(self) -> None:
        save_file({"weight": np.ones(4, np.float32)}, self.folder / "weights.safetensors")
        facts = {"attempts": self.attempt, "device_hours": 0.1}
        (self.folder / "provenance.json").write_text(json.dumps(facts))


def start_following(study: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "vsrbench", "follow", str(study), "--interval", "1", *arguments]
    with Path(study.parent, "follow.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_for(condition, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "nothing arrived"
        time.sleep(0.2)


def run_ids(study: Path) -> list[str]:
    return [read_run(config, run).run_id for run, config in find_runs(study)]


@pytest.mark.parametrize("outage", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_every_point_arrives_once_whatever_happens(study, service, outage):
    trainings = [Training(study, seed) for seed in SEEDS]
    ids = run_ids(study)
    following = start_following(study, "--until-pid", str(os.getpid()))

    def advance(points: int) -> None:
        for training in trainings:
            training.step(points)

    def shown(points: int) -> bool:
        return all(len(service.history[run]) >= points for run in ids)

    advance(8)
    wait_for(lambda: shown(8))  # while they train, without waiting for a next line
    for training in trainings:
        training.start()  # killed, and requeued: three lines are written again
    advance(2)
    os.kill(following.pid, signal.SIGKILL)
    following.wait()
    advance(4)
    following = start_following(study, "--until-pid", str(os.getpid()))
    wait_for(lambda: shown(11))
    service.cut.set()
    advance(5)
    time.sleep(outage)
    for training in trainings:
        training.start()
    service.cut.clear()
    advance(6)
    wait_for(lambda: shown(18), 180)
    os.kill(following.pid, signal.SIGKILL)
    following.wait()
    assert all(is_followed(study, run) is False for run in ids)
    following = start_following(study)  # ends by itself
    wait_for(lambda: all(is_followed(study, run) for run in ids))
    for training in trainings:
        training.step(POINTS - len(training.lines))
        training.finish()
    assert following.wait(timeout=180) == 0, (study.parent / "follow.log").read_text()
    assert not any(is_followed(study, run) for run in ids)
    expected = [10 * (number + 1) for number in range(POINTS)]
    assert {run: service.steps(run) for run in ids} == dict.fromkeys(ids, expected)
    sync(study)  # the mirror of the finished trainings is the same runs
    assert {run: service.steps(run) for run in ids} == dict.fromkeys(ids, expected)
    assert set(service.history) == set(ids) <= set(service.runs)
    for run in ids:
        assert json.loads(service.history[run][0])["loss"] == pytest.approx(0.1)


def test_runs_are_named_as_their_mirrors(study, service):
    training = Training(study, 1)
    training.step()
    following = start_following(study, "--until-pid", str(os.getpid()))
    (run, *_) = run_ids(study)
    wait_for(lambda: run in service.facts)
    facts = service.facts[run]
    assert (facts["displayName"], facts["groupName"], facts["jobType"]) == ("full-seed_1", "full", "train")
    assert {"tiny", "BI", "unfinished"} <= set(facts["tags"])
    assert json.loads(facts["config"])["seed"] == {"value": 1}
    following.kill()
    following.wait()


def test_one_process_follows_a_study(study, service):
    Training(study, 1).step()
    with follow_alone(study) as alone:
        assert alone
        second = start_following(study)
        assert second.wait(timeout=60) == 0
    assert not service.history


def test_the_mirror_leaves_a_run_that_is_open_to_its_follower(study, service):
    for seed in SEEDS:
        Training(study, seed).step(3)
    first, second = run_ids(study)
    with follow_alone(study):
        mark_followed(study, first)
        sync(study)
        assert set(service.history) == {second}
    sync(study)  # the follower is gone, so its mark says nothing
    assert set(service.history) == {first, second}


def test_a_dead_followers_mark_says_nothing(study):
    mark_followed(study, "full-seed_1-12345678")
    assert not is_followed(study, "full-seed_1-12345678") and not is_followed(study, "other")


def test_the_end_of_snakemake_is_the_end(study, service):
    Training(study, 1).step(2)
    snakemake = subprocess.Popen(["sleep", "600"])
    following = start_following(study, "--until-pid", str(snakemake.pid))
    wait_for(lambda: any(service.history.values()))
    snakemake.kill()
    snakemake.wait()
    assert following.wait(timeout=60) == 0


def test_nothing_is_sent_offline(study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    following = start_following(study)
    assert following.wait(timeout=60) == 0 and not (study / "wandb").exists()


def test_a_missing_login_is_one_line(study, service, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    following = start_following(study)
    assert following.wait(timeout=60) == 2
    assert (
        "there is no W&B login; run wandb login" in (study.parent / "follow.log").read_text().splitlines()[-1]
    )
