"""The W&B mirror, read back from the files that it writes and from a service that records what it is sent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from synthetic import BASELINE, CLIPS, EFFECTS, write_study
from tiny_training import write_stores, write_variant
from wandb_service import wandb_service

from vsrbench.core.errors import InputError
from vsrbench.core.files import sha256
from vsrbench.results.run_records import find_records, read_history
from vsrbench.tracking.wandb_mirror import sync
from vsrbench.training.preemption import RESUME_LATER

KEY = "0" * 39 + "5"
ITERATIONS, LOG_INTERVAL = 300, 10  # of the synthetic trainings


def write_runs(folder: Path, variants=("full", "fcsa", "channel_norm"), seeds=(1, 2)) -> Path:
    """A synthetic study with weights and a restored frame for each run."""
    write_study(folder, seeds=seeds, effects={name: EFFECTS[name] for name in (*variants, BASELINE)})
    for run in folder.glob("runs/*/*"):
        save_file({"weight": np.ones(4, np.float32)}, run / "weights.safetensors")
    for rows in folder.glob("evaluations/*/*/*.csv"):
        rows.with_suffix("").mkdir()
        cv2.imwrite(str(rows.with_suffix("") / "clip_00000001.png"), np.full((64, 64, 3), 90, np.uint8))
    return folder


def write_table(study: Path, *variants: str) -> None:
    """A table that rests on one seed of these variants, scored on one data set; it is newer than all else."""
    (study / "tables").mkdir()
    rows = [
        {
            "variant": variant,
            "runs": "" if variant == BASELINE else f"runs/{variant}/seed_1",
            "evaluations": f"evaluations/photo_motion/{variant}/seed_{int(variant != BASELINE)}.csv",
        }
        for variant in variants
    ]
    pd.DataFrame(rows).to_csv(study / "tables" / "ablations.csv", index=False)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))  # where the inspector leaves its own log


@pytest.fixture
def study(tmp_path) -> Path:
    return write_runs(tmp_path / "results" / "small")


def folders(study: Path) -> dict[str, Path]:
    """Offline run folders by variant and seed."""
    found = list(study.glob("wandb/offline-run-*"))
    by_name = {path.name.split("-", 3)[-1].rpartition("-")[0]: path for path in found}
    assert len(by_name) == len(found)
    return by_name


def inspect(folder: Path) -> list[dict]:
    """The records of a run's own file, as W&B's inspector prints them."""
    return [json.loads(line) for line in inspector("--json", str(folder)).splitlines()]


def inspector(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def history(records: list[dict]) -> list[dict]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_a_run_interrupted_twice_is_one_run_without_gaps_or_repeats(study):
    run = study / "runs" / "full" / "seed_1"
    lines = (run / "train.jsonl").read_text().splitlines(keepends=True)
    # Killed after 100 and after 200 iterations, each time going on from a checkpoint 30 iterations before.
    (run / "train.jsonl").write_text("".join(lines[:10] + lines[7:20] + lines[17:]))
    facts = json.loads((run / "provenance.json").read_text()) | {"attempts": 3}
    (run / "provenance.json").write_text(json.dumps(facts))

    sync(study)

    written = folders(study)
    trained = [f"{variant}-seed_{seed}" for variant in ("full", "fcsa", "channel_norm") for seed in (1, 2)]
    assert sorted(written) == sorted([*trained, "bicubic-seed_0"])
    records = inspect(written["full-seed_1"])
    (head,) = [record["run"] for record in records if record["type"] == "run"]
    assert (head["run_group"], head["job_type"], head["display_name"]) == ("full", "train", "full-seed_1")
    assert head["tags"] == ["small", "BI"]
    assert head["config"]["update"]["model"]["attention"] == "stcsa"
    rows = history(records)
    assert [row["_step"] for row in rows] == list(range(LOG_INTERVAL, ITERATIONS + 1, LOG_INTERVAL))
    logged = [json.loads(line) for line in lines]
    assert [row["loss"] for row in rows] == [record["loss"] for record in logged]
    assert [row.get("validation_psnr_rgb") for row in rows] == [
        record.get("validation_psnr_rgb") for record in logged
    ]
    summary = json.loads(inspector("--summary", "--json", str(written["full-seed_1"])))["summary"]
    assert summary["attempts"] == 3
    assert len(summary["weights_sha256"]) == 64
    rows = pd.read_csv(study / "evaluations" / "photo_motion" / "full" / "seed_1.csv")
    assert summary["photo_motion/psnr_rgb"] == pytest.approx(rows.groupby("clip")["psnr_rgb"].mean().mean())
    assert summary["runtime_64x64/latency_ms"] > 0 and summary["parameters_m"] == EFFECTS["full"][1]
    assert summary["restored/photo_motion"]["count"] == 1
    assert summary["clips"]["nrows"] == sum(map(len, CLIPS.values()))


def test_a_training_killed_twice_is_mirrored_as_if_nobody_had(tmp_path):
    study = tmp_path / "results" / "tiny"
    (study / "configs").mkdir(parents=True)
    settings = {"iterations": 60, "log_interval": 2, "checkpoint_interval": 5, "validation_interval": 20}
    config = write_variant(study / "configs" / "full.yaml", training=settings)
    files = {"config": config} | write_stores(tmp_path)
    run = study / "runs" / "full" / "seed_1"
    assert train(files, run, signal.SIGTERM, after_lines=5) == RESUME_LATER
    assert train(files, run, signal.SIGKILL, after_lines=13) == -signal.SIGKILL
    assert train(files, run) == 0
    undisturbed = tmp_path / "undisturbed"
    assert train(files, undisturbed) == 0

    sync(study)
    assert list(folders(study)) == ["full-seed_1"]
    rows = history(inspect(folders(study)["full-seed_1"]))
    logged = read_history(undisturbed / "train.jsonl")
    assert [row["_step"] for row in rows] == list(logged) == list(range(2, 61, 2))
    for row in rows:
        for key in ("loss", "gradient_norm", "learning_rate", "validation_psnr_rgb"):
            assert row.get(key) == logged[row["_step"]].get(key)
    summary = json.loads(inspector("--summary", "--json", str(folders(study)["full-seed_1"])))["summary"]
    assert summary["attempts"] == 3
    assert summary["weights_sha256"] == sha256(undisturbed / "weights.safetensors")


def train(files: dict[str, Path], run: Path, number: int | None = None, after_lines: int = 0) -> int:
    """Train until the end, or until the log has so many lines and a signal is sent; the exit status."""
    options = [argument for name, path in files.items() for argument in (f"--{name.replace('_', '-')}", path)]
    command = [sys.executable, "-m", "vsrbench", "train", "--seed", "1", *options]
    run.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [*map(str, command), "--out", str(run / "weights.safetensors")], stderr=subprocess.DEVNULL
    ) as process:
        log = run / "train.jsonl"
        while number is not None and process.poll() is None:
            if log.is_file() and log.read_text().count("\n") >= after_lines:
                process.send_signal(number)
                break
            time.sleep(0.002)
    return process.returncode


def test_only_what_changed_is_written_again(study):
    sync(study)
    before = {name: (folder / "digest").stat().st_mtime_ns for name, folder in folders(study).items()}
    sync(study)
    assert {name: (folder / "digest").stat().st_mtime_ns for name, folder in folders(study).items()} == before
    with (study / "runs" / "fcsa" / "seed_2" / "train.jsonl").open("a") as log:
        log.write(json.dumps({"iteration": ITERATIONS + 1, "loss": 0.5}) + "\n")
    sync(study)
    after = {name: (folder / "digest").stat().st_mtime_ns for name, folder in folders(study).items()}
    assert before.keys() == after.keys()
    assert [name for name in after if after[name] != before[name]] == ["fcsa-seed_2"]
    assert history(inspect(folders(study)["fcsa-seed_2"]))[-1]["loss"] == 0.5


def test_a_mirror_that_died_half_way_is_made_whole(study):
    sync(study)
    (folders(study)["full-seed_1"] / "digest").unlink()
    sync(study)
    assert len(history(inspect(folders(study)["full-seed_1"]))) == ITERATIONS // LOG_INTERVAL


def test_ids_hold_over_attempts_and_change_with_the_recipe(study):
    ids = {record.name: record.run_id for record in find_records(study)}
    assert len(set(ids.values())) == len(ids)
    (study / "runs" / "full" / "seed_1" / "weights.safetensors").unlink()
    unfinished = {record.name: record for record in find_records(study)}["full-seed_1"]
    assert unfinished.run_id == ids["full-seed_1"]
    assert "unfinished" in unfinished.tags
    config = study / "configs" / "full.yaml"
    config.write_text(config.read_text().replace("batch_size: 1", "batch_size: 4"))
    assert {record.name: record.run_id for record in find_records(study)}["full-seed_1"] != ids["full-seed_1"]


def test_tables_and_figures_are_a_run_of_their_own(study):
    write_table(study, "full")
    sync(study)
    (row,) = history(inspect(folders(study)["tables"]))
    assert row["ablations.nrows"] == 1


def test_what_the_study_no_longer_has_is_mirrored_no_longer(study):
    sync(study)
    assert "channel_norm-seed_1" in folders(study) and "fcsa-seed_2" in folders(study)
    write_table(study, "full", "fcsa", BASELINE)
    sync(study)
    assert sorted(folders(study)) == ["bicubic-seed_0", "fcsa-seed_1", "full-seed_1", "tables"]
    shown = {key.split("/")[0] for record in find_records(study) for key in record.summary if "psnr" in key}
    assert shown == {"photo_motion"}


def test_what_came_after_the_table_is_mirrored_with_what_it_names(study):
    write_table(study, "full", BASELINE)
    later = (study / "tables" / "ablations.csv").stat().st_mtime + 60
    os.utime(study / "runs" / "fcsa" / "seed_2", (later, later))
    assert [record.name for record in find_records(study)][:2] == ["fcsa-seed_2", "full-seed_1"]


def test_a_line_in_the_making_is_left_out_and_a_broken_one_is_named(tmp_path):
    log = tmp_path / "train.jsonl"
    log.write_text('{"iteration": 10, "loss": 1.0}\n{"iteration": 20, "skipped": "clip 3"}\n{"iteration": 3')
    assert read_history(log) == {10: {"loss": 1.0}}
    log.write_text('{"iteration": 10, "loss": 1.0}\n{"loss": 1.0}\n')
    with pytest.raises(InputError, match=r"train.jsonl: line 2 .*"):
        read_history(log)
    assert read_history(tmp_path / "none") == {}


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a study"):
        sync(tmp_path)


def test_disabled_writes_nothing(study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    sync(study)
    assert not (study / "wandb").exists()


@pytest.fixture
def service():
    with wandb_service() as service:
        yield service


def test_uploads_can_be_repeated_without_duplicates(tmp_path, service, monkeypatch, capfd):
    study = write_runs(tmp_path / "results" / "small", variants=("full",), seeds=(1,))
    monkeypatch.setenv("WANDB_BASE_URL", service.address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    sync(study)
    ids = {record.run_id for record in find_records(study)}
    assert set(service.runs) == ids and len(ids) == 2
    sent = [
        (files["wandb-history.jsonl"]["offset"], len(files["wandb-history.jsonl"]["content"]))
        for path, message in service.streams
        if "/full-seed_1-" in path and "wandb-history.jsonl" in (files := message.get("files") or {})
    ]
    assert sent[0][0] == 0 and sum(lines for _, lines in sent) == ITERATIONS // LOG_INTERVAL
    assert any(path.endswith(".png") for path in service.uploads)

    service.runs.clear()
    sync(study)
    assert service.runs == []
    with (study / "runs" / "full" / "seed_1" / "train.jsonl").open("a") as log:
        log.write(json.dumps({"iteration": ITERATIONS + 1, "loss": 0.5}) + "\n")
    sync(study)
    assert set(service.runs) == {run for run in ids if run.startswith("full")}

    output = "".join(capfd.readouterr())
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert KEY not in output and not any(KEY.encode() in content for content in files)


def test_a_lost_network_is_a_warning(tmp_path, monkeypatch, caplog):
    study = write_runs(tmp_path / "results" / "small", variants=("full",), seeds=(1,))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    sync(study)
    assert "2 of 2 W&B runs are not uploaded yet" in caplog.text
    assert len(folders(study)) == 2


def test_online_without_a_login_is_refused(study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(InputError, match="wandb login, or set WANDB_API_KEY"):
        sync(study)


def log_in(service) -> None:
    """As `wandb login` leaves it in the home directory."""
    netrc = Path.home() / ".netrc"
    netrc.parent.mkdir(exist_ok=True)
    netrc.write_text(f"machine 127.0.0.1:{service.server_port}\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)


def test_a_login_that_wandb_finds_is_enough(tmp_path, service, monkeypatch, capfd, caplog):
    study = write_runs(tmp_path / "results" / "small", variants=("full",), seeds=(1,))
    monkeypatch.setenv("WANDB_BASE_URL", service.address)
    monkeypatch.setenv("WANDB_MODE", "online")
    log_in(service)
    sync(study)
    assert set(service.runs) == {record.run_id for record in find_records(study)}
    assert KEY not in "".join(capfd.readouterr()) + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert files == [Path.home() / ".netrc"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("WANDB_MODE", "onlin", "online, offline, disabled"), ("WANDB_PROJECT", "team/project", "WANDB_ENTITY")],
)
def test_a_setting_that_wandb_would_not_take_is_named(study, monkeypatch, name, value, allowed):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{name} is '{value}'; .*{allowed}"):
        sync(study)
    assert not (study / "wandb").exists()


def test_the_dashboard_shows_what_the_runs_hold(study, service, monkeypatch, caplog):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    from vsrbench.tracking.wandb_dashboard import publish_dashboard

    with pytest.raises(InputError, match="WANDB_ENTITY"):
        publish_dashboard(study)
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    monkeypatch.setenv("WANDB_BASE_URL", service.address)
    with pytest.raises(InputError, match="wandb login"):
        publish_dashboard(study)
    log_in(service)
    with caplog.at_level("INFO", logger="vsrbench"):
        publish_dashboard(study)
    (view,) = service.views
    assert (view["entityName"], view["projectName"]) == ("someone", "vsrbench")
    section = json.loads(view["spec"])["section"]
    (runs,) = section["runSets"]
    assert runs["grouping"] == [{"section": "config", "name": "variant.value"}]
    shown = json.dumps(section["panelBankConfig"])
    for record in find_records(study):
        scores = [key for key in record.summary if key.endswith(("psnr_rgb", "ssim_y", "latency_ms"))]
        for key in [*scores, *record.pictures, *record.tables, "loss"]:
            assert key in shown
    assert "/someone/vsrbench" in caplog.text
