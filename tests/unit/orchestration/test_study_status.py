"""`vsrbench status`, on folders as trainings leave them and with processes that hold their locks."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from vsrbench.core.errors import InputError
from vsrbench.orchestration.study_status import describe, status
from vsrbench.orchestration.training_progress import TAIL, list_trainings, read_progress
from vsrbench.training.run_lock import DEAD_AFTER

ITERATIONS = 1000
HOLD = """
import sys, time
from pathlib import Path
from vsrbench.training.run_lock import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch, tmp_path):
    """A cluster of the machine that tests run on has no part in them."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def write_study(folder: Path, variants=("full", "fcsa"), seeds=range(1, 3)) -> Path:
    """A study whose file lies elsewhere: resolved variants, and trainings that have not begun."""
    for variant in variants:
        config = folder / "configs" / f"{variant}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(f"variant: {variant}\ntraining: {{iterations: {ITERATIONS}}}\n")
        for seed in seeds:
            (folder / "runs" / variant / f"seed_{seed}").mkdir(parents=True)
    return folder


def log_intervals(run: Path, iteration: int, seconds: float = 0.5) -> None:
    lines = [
        json.dumps({"iteration": number, "loss": 1 / number, "seconds_per_iteration": seconds}) + "\n"
        for number in range(10, iteration + 1, 10)
    ]
    (run / "train.jsonl").write_text("".join(lines))


def finish(run: Path, device_hours: float) -> None:
    facts = {"device_hours": device_hours, "machines": [{"processes": 1}], "result": {"loss": 0.01}}
    (run / "provenance.json").write_text(json.dumps(facts))
    (run / "weights.safetensors").touch()


def leave_lock(run: Path, *, host=None, pid=1, job=None, attempt=1, released=False, age=0.0) -> None:
    owner = {"host": host or platform.node(), "pid": pid, "slurm_job": job, "attempt": attempt}
    (run / "lock").write_text(json.dumps(owner | {"token": "t", "released": released}))
    os.utime(run / "lock", (time.time() - age,) * 2)


def write_log(study: Path, name: str, text: str, age: float = 0.0) -> None:
    log = study / "logs" / "train" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    os.utime(log, (time.time() - age,) * 2)


def states(study: Path, queued=()) -> dict[str, str]:
    found = [read_progress(each, time.time(), queued) for each in list_trainings(study.name, study.parent)]
    return {"/".join(each.training.folder.parts[-2:]): each.state for each in found}


def test_a_killed_training_is_not_running_though_its_lock_says_so(tmp_path):
    study = write_study(tmp_path / "made_up", variants=("full",), seeds=[1])
    run = study / "runs" / "full" / "seed_1"
    log_intervals(run, 400)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow'}"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            process.stdout.readline()
            assert states(study) == {"full/seed_1": "running"}
            shown = describe("made_up", tmp_path).split()
            assert {platform.node(), "400", "1,000", "2/s", "0:05:00", "0.0025"} <= {*shown}
        finally:
            process.kill()
    assert states(study) == {"full/seed_1": "failed"}
    assert f"killed: process {process.pid} on {platform.node()}, attempt 1" in describe("made_up", tmp_path)


def test_an_owner_on_another_machine_lives_as_long_as_its_heartbeat(tmp_path):
    study = write_study(tmp_path / "made_up", variants=("full",))
    leave_lock(study / "runs" / "full" / "seed_1", host="node7", job="41", age=DEAD_AFTER - 30)
    leave_lock(study / "runs" / "full" / "seed_2", host="node7", job="42", age=DEAD_AFTER + 30)
    assert states(study) == {"full/seed_1": "running", "full/seed_2": "failed"}
    assert "node7, job 41" in describe("made_up", tmp_path)
    assert states(study, queued={"42"})["full/seed_2"] == "waiting"


def test_every_state_in_one_screen(tmp_path):
    study = write_study(tmp_path / "made_up")
    runs = {f"{run.parent.name}/{run.name}": run for run in study.glob("runs/*/*")}
    finish(runs["full/seed_1"], 0.5)
    log_intervals(runs["full/seed_2"], 500, seconds=1.8)
    leave_lock(runs["full/seed_2"], host="node3", attempt=4)
    leave_lock(runs["fcsa/seed_1"], released=True, age=60)
    write_log(study, "fcsa_seed_1", "vsrbench: resumed\nvsrbench: runs/fcsa: loss nan; lower it\n")
    leave_lock(runs["fcsa/seed_2"], released=True)
    write_log(study, "fcsa_seed_2", "vsrbench: resumed\n", age=60)
    assert states(study) == {
        "full/seed_1": "done",
        "full/seed_2": "running",
        "fcsa/seed_1": "failed",
        "fcsa/seed_2": "waiting",
    }
    shown = describe("made_up", tmp_path)
    # 0.5 + 500 * 1.8 / 3600 hours are used; left are those 0.25 and, at full's pace, two times 0.5.
    assert "1 of 4 trainings done, 38% of the work; device-hours: 0.75 used, about 1.25 left" in shown
    assert "with 1 at a time they end about" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["full", "1", "1", "1:done", "2:50%"] in rows and ["fcsa", "1", "1", "1:failed", "2:-"] in rows
    assert "failed: fcsa seed 1, attempt 1, iteration 0\n  runs/fcsa: loss nan; lower it" in shown
    assert "logs/train/fcsa_seed_1.log" in shown


def test_a_wait_for_a_device_is_no_failure(tmp_path):
    study = write_study(tmp_path / "made_up", variants=("full",), seeds=[1])
    write_log(study, "full_seed_1", "vsrbench: all 1 GPUs are in use; waiting for one\n")
    assert states(study) == {"full/seed_1": "waiting"}
    write_log(study, "full_seed_1", "vsrbench: configs/full.yaml: unreadable\n")
    assert states(study) == {"full/seed_1": "failed"}


def test_the_line_that_is_being_written_is_passed_over(tmp_path):
    study = write_study(tmp_path / "made_up", variants=("full",), seeds=[1])
    run = study / "runs" / "full" / "seed_1"
    log_intervals(run, 50)
    with (run / "train.jsonl").open("a") as log:
        log.write('{"iteration": 60, "skipped": "clip"}\n{"iteration": 70, "lo')
    (training,) = list_trainings("made_up", tmp_path)
    assert read_progress(training, time.time()).iteration == 50


def test_little_is_read_of_a_thousand_runs_however_long_their_logs(tmp_path):
    study = write_study(tmp_path / "made_up", variants=[f"v{n}" for n in range(10)], seeds=range(100))
    long = tmp_path / "long"
    long.mkdir()
    log_intervals(long, 20_000)
    for run in study.glob("runs/*/*"):
        os.link(long / "train.jsonl", run / "train.jsonl")
    before = bytes_read()
    shown = describe("made_up", tmp_path)
    assert "0 of 1000 trainings done" in shown
    assert (long / "train.jsonl").stat().st_size > 20 * TAIL
    assert bytes_read() - before < 1000 * 2 * TAIL


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_study_file_says_what_is_to_come(tmp_path):
    trainings = list_trainings("permuted_cells", tmp_path)
    labels = {each.label for each in trainings}
    assert any(label.startswith("rate") for label in labels) and "seed 1" in labels
    assert {each.state for each in (read_progress(each, 0) for each in trainings)} == {"waiting"}


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a study"):
        status(study="nothing", results=tmp_path)


def test_one_squeue_is_asked_and_its_absence_is_no_error(tmp_path, monkeypatch):
    write_study(tmp_path / "made_up", variants=("full",), seeds=[1])
    assert "Slurm" not in describe("made_up", tmp_path)
    tool = tmp_path / "bin" / "squeue"
    tool.parent.mkdir()
    tool.write_text(f"#!{shutil.which('sh', path='/bin')}\necho x >> {tmp_path}/asked\necho 7 PENDING\n")
    tool.chmod(0o755)
    assert "Your jobs in Slurm: 1 pending" in describe("made_up", tmp_path)
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_cluster_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    def ask(command, timeout, **_):
        assert timeout < 2
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", ask)
    write_study(tmp_path / "made_up", variants=("full",), seeds=[1])
    assert "Slurm" not in describe("made_up", tmp_path)
