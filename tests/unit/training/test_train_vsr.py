"""Training gives the same weights whatever interrupts it, and says in one line what stops it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import yaml
from kill_training import survive
from safetensors.torch import load_file, save_file
from tiny_training import same_but_for_time, write_stores, write_variant

from models import own_config
from models.optical_flow import SPyNet
from vsrbench.core.errors import InputError
from vsrbench.data.frame_store import FrameStore
from vsrbench.training import train_vsr, trainer
from vsrbench.training.checkpoint import list_checkpoints
from vsrbench.training.finished_run import tidy, train_and_tidy
from vsrbench.training.preemption import RESUME_LATER
from vsrbench.training.run_lock import LockLost


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict:
    """What every training here is given, but for its variant."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    save_file(SPyNet(4).state_dict(), folder / "flow.safetensors")
    return write_stores(folder) | {"flow_weights": folder / "flow.safetensors", "seed": 1, "device": "cpu"}


@pytest.fixture
def run(inputs, tmp_path):
    """Train a tiny variant in a folder of the given name; the path of its weights."""

    def train_tiny(
        name: str = "run", model: dict | None = None, training: dict | None = None, **options
    ) -> Path:
        out = tmp_path / name / "weights.safetensors"
        config = write_variant(tmp_path / f"{name}.yaml", model, training)
        train_and_tidy(**inputs | {"config": config, "out": out} | options)
        return out

    return train_tiny


@pytest.fixture
def at_iteration(monkeypatch):
    """Let something happen during one iteration."""

    def arrange(iteration: int, happens) -> None:
        rate = trainer.learning_rate

        def learning_rate(config, current):
            if current == iteration:
                happens()
            return rate(config, current)

        monkeypatch.setattr(trainer, "learning_rate", learning_rate)

    return arrange


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.with_name("train.jsonl").read_text().splitlines()]


def provenance(out: Path) -> dict:
    return json.loads(out.with_name("provenance.json").read_text())


def test_same_seed_same_weights_and_another_seed_others(run):
    first, again, other = run("first"), run("again"), run("other", seed=2)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def test_more_readers_change_nothing(run):
    assert run("one", workers=1).read_bytes() == run("three", workers=3).read_bytes()


def test_log_and_provenance_tell_the_run(run):
    out = run()
    lines = log(out)
    assert [line["iteration"] for line in lines] == [2, 3, 4, 6]
    assert ["validation_psnr_rgb" in line for line in lines] == [False, True, False, True]
    assert all(line["seconds_per_iteration"] > 0 and 0 <= line["waiting_share"] <= 1 for line in lines)
    facts = provenance(out)
    assert facts["result"] == lines[-1]
    assert (facts["seed"], facts["iterations"], facts["attempts"]) == (1, 6, 1)
    assert facts["machines"][0]["threads"] == torch.get_num_threads()
    assert facts["device_hours"] > 0 and facts["skipped_iterations"] == []


def test_it_learns(run):
    settings = {"iterations": 60, "learning_rate": 5e-3, "log_interval": 20, "validation_interval": 20}
    lines = log(run(training=settings))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert lines[-1]["validation_psnr_rgb"] > lines[0]["validation_psnr_rgb"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_the_next_start_ends_bit_equal(run, at_iteration, monkeypatch, number):
    settings = {"ema_decay": 0.9, "gradient_clip": 1.0}
    whole = run("whole", training=settings)
    with monkeypatch.context() as patch:
        patch.delenv("SLURM_JOB_ID", raising=False)
        at_iteration(3, lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as leaving:
            run("parts", training=settings)
    assert leaving.value.code == RESUME_LATER
    at_iteration(3, lambda: pytest.fail("iteration 3 was done before"))
    parts = run("parts", training=settings)
    assert parts.read_bytes() == whole.read_bytes()
    assert same_but_for_time(log(parts)) == same_but_for_time(log(whole))
    assert provenance(parts)["attempts"] == 2


def test_kills_at_random_moments_change_nothing(tmp_path):
    assert survive(tmp_path, kills=6, seed=1)["kills"] >= 6


@pytest.mark.slow
def test_two_hundred_kills_change_nothing(tmp_path):
    counts = survive(tmp_path, kills=200, seed=2)
    assert counts["while_writing"] > 20


def test_a_training_that_was_taken_over_leaves_the_checkpoints_alone(run, tmp_path, monkeypatch):
    owner = {"host": "elsewhere", "pid": 1, "slurm_job": None, "attempt": 2, "token": "t"}
    lock = tmp_path / "run" / "lock"
    # After this iteration's check, as where validation has taken long.
    monkeypatch.setattr(
        trainer.Trainer, "_validate", lambda trainer: lock.write_text(json.dumps(owner)) and {}
    )
    with pytest.raises(LockLost, match="elsewhere"):
        run(training={"checkpoint_interval": 3})
    assert not list_checkpoints(lock.with_name("checkpoints"))
    assert json.loads(lock.read_text()) == owner


def test_a_finished_training_is_not_repeated(run, at_iteration):
    weights = run().read_bytes()
    at_iteration(1, lambda: pytest.fail("trained again"))
    assert run().read_bytes() == weights


def test_checkpoints_go_with_the_end_of_a_training_and_it_is_not_repeated(run, at_iteration):
    settings = {"ema_decay": 0.9}
    kept = run("kept", training=settings, keep_checkpoints=True)
    assert list_checkpoints(kept.with_name("checkpoints"))
    out = run("tidied", training=settings)
    weights, facts, lines = out.read_bytes(), provenance(out), log(out)
    assert weights == kept.read_bytes()
    assert not list_checkpoints(out.with_name("checkpoints"))
    at_iteration(1, lambda: pytest.fail("trained again"))
    out.unlink()  # as Snakemake does before it starts a step again
    out.with_name("provenance.json").unlink()
    out.with_name("train.jsonl").unlink()
    assert run("tidied", training=settings).read_bytes() == weights
    assert log(out) == lines
    again = provenance(out)
    assert again["attempts"] == 2 and again["machines"] == facts["machines"]
    assert {key: again[key] for key in ("identity", "iterations", "result", "device_hours")} == {
        key: facts[key] for key in ("identity", "iterations", "result", "device_hours")
    }


def test_a_result_that_is_damaged_or_of_another_recipe_is_trained_again(run, caplog):
    out = run()
    weights = out.read_bytes()
    out.write_bytes(b"damaged")  # in place, and with it its link
    assert run().read_bytes() == weights
    assert "missing or damaged; training again" in caplog.text
    other = run(training={"learning_rate": 2e-3})
    assert other.read_bytes() != weights
    assert len(list(other.parent.glob("checkpoints/finished.*.safetensors"))) == 1


def test_weights_of_another_training_do_not_take_the_place_of_checkpoints(run):
    out = run(keep_checkpoints=True)
    facts = provenance(out)
    facts["identity"]["code"] = "another"
    out.with_name("provenance.json").write_text(json.dumps(facts))
    assert tidy(out) == 0 and list_checkpoints(out.with_name("checkpoints"))


def test_it_says_where_the_batch_came_from_when_the_loss_is_not_finite(run, monkeypatch):
    spoil(monkeypatch, iteration=3)
    with pytest.raises(
        InputError, match=r"loss nan.*iteration 3 \(seed 1: clip clip\d frames.*last good .*00000002"
    ):
        run()


def test_a_bad_iteration_can_be_skipped_and_is_recorded(run, monkeypatch):
    spoil(monkeypatch, iteration=3)
    out = run(on_nonfinite="skip", training={"log_interval": 1})
    assert provenance(out)["skipped_iterations"] == [3]
    assert [line["iteration"] for line in log(out) if "skipped" in line] == [3]
    intervals = {line["iteration"]: line for line in log(out) if "skipped" not in line}
    for key in ("loss", "gradient_norm"):
        assert [number for number, line in intervals.items() if line[key] is None] == [3]
    assert all(values.isfinite().all() for values in load_file(out).values())


def test_what_was_not_deterministic_outlives_a_kill_after_the_last_iteration(run, monkeypatch):
    def collecting(*found: str):
        return lambda device, names, enabled: nullcontext(names.update(found))

    monkeypatch.setattr(trainer, "deterministic", collecting("made_up_backward"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "write_provenance", Mock(side_effect=KeyboardInterrupt))
        run()
    monkeypatch.setattr(trainer, "deterministic", collecting())
    assert provenance(run())["nondeterministic_operations"] == ["made_up_backward"]


def spoil(monkeypatch, iteration: int) -> None:
    calls = iter(range(1, 100))
    right = train_vsr.charbonnier
    monkeypatch.setattr(
        train_vsr, "charbonnier", lambda *args: right(*args) * (torch.nan if next(calls) == iteration else 1)
    )


def test_flow_is_held_fixed_for_so_long(run, inputs):
    model = {"feed_forward": "flow_aligned"}
    start = load_file(inputs["flow_weights"])
    fixed = load_file(run("fixed", model, {"freeze_flow_iterations": 6}))
    freed = load_file(run("freed", model, {"freeze_flow_iterations": 5}))
    name = "levels.5.0.weight"
    assert torch.equal(fixed[f"spynet.{name}"], start[name])
    assert not torch.equal(freed[f"spynet.{name}"], start[name])


def test_a_stop_while_the_flow_is_fixed_changes_nothing(run, at_iteration):
    options = {"model": {"feed_forward": "flow_aligned"}, "training": {"freeze_flow_iterations": 4}}
    whole = run("whole", **options)
    at_iteration(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run("parts", **options)
    assert run("parts", **options).read_bytes() == whole.read_bytes()


def test_oracle_flow_reads_the_exact_flow(run, monkeypatch):
    seen = []
    restore = train_vsr._restore
    monkeypatch.setattr(train_vsr, "_restore", lambda net, batch: seen.append(batch) or restore(net, batch))
    run(model={"feed_forward": "flow_aligned", "flow": "oracle"}, flow_weights=None)
    assert seen[0]["flows_forward"].shape == (2, 3, 2, 16, 16)


def test_averaged_weights_are_the_result(run):
    plain, averaged = run("plain"), run("averaged", training={"ema_decay": 0.5})
    assert plain.read_bytes() != averaged.read_bytes()
    assert load_file(plain).keys() == load_file(averaged).keys()


def test_recomputing_changes_memory_not_weights(run):
    plain, recomputed = (
        load_file(run("plain")),
        load_file(run("recomputed", training={"activation_checkpointing": True})),
    )
    for name in plain:
        torch.testing.assert_close(plain[name], recomputed[name])


def test_bfloat16_trains(run):
    assert log(run(training={"precision": "bfloat16"}))[-1]["loss"] > 0


def test_an_unfinished_training_of_another_recipe_is_refused(run, at_iteration):
    at_iteration(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run()
    with pytest.raises(InputError, match="unfinished training with settings"):
        run(training={"learning_rate": 2e-3})


def test_a_finished_training_of_another_recipe_is_replaced(run):
    first = run().read_bytes()
    assert run(training={"learning_rate": 2e-3}).read_bytes() != first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": {"feed_forward": "flow_aligned"}, "flow_weights": None}, "--flow-weights"),
        ({"model": {"feed_forward": "flow_aligned", "flow_num_feat": 8}}, "model.flow_num_feat"),
        ({"model": {"feat_size": 32}}, "24x24 LQ pixels, smaller than a crop of 32x32"),
        ({"model": {"num_frames": 7}}, "5 frames, fewer than model.num_frames 7"),
        ({"out": Path("/proc/nowhere/weights.safetensors")}, "/proc/nowhere: cannot be written"),
    ],
)
def test_bad_input_is_said_in_one_line(run, options, words):
    with pytest.raises(InputError, match=words) as error:
        run(**options)
    assert "\n" not in str(error.value)


def test_a_store_of_another_degradation_is_refused(run, monkeypatch):
    monkeypatch.setattr(
        FrameStore, "degradation", property(lambda self: "BD", lambda self, value: None), raising=False
    )
    with pytest.raises(InputError, match="expected frames of degradation BI, got BD"):
        run()


def test_world_size_must_divide_the_batch(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch_size 2 is not divisible by 3"):
        run()


def test_the_trainer_imports_no_more_than_it_needs():
    """A bare GPU machine runs it, and an edit of the metrics repeats no training."""
    code = "import sys, vsrbench.training.train_vsr, vsrbench.training.train_flow; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    unwanted = {"snakemake", "wandb", "lpips", "torchvision", "pandas", "skimage", "matplotlib"}
    unwanted |= {
        "vsrbench.evaluation.metrics",
        "vsrbench.evaluation.inference",
        "vsrbench.tracking.wandb_mirror",
    }
    assert not unwanted & set(modules)


def test_halves_its_share_of_the_memory_until_it_fits(run, monkeypatch, caplog):
    """And an interrupted training goes on with the share that it had found."""
    expected = run(training={"batch_size": 4})
    fits = limit_windows(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(trainer, "write_provenance", Mock(side_effect=KeyboardInterrupt))
        run(name="short", training={"batch_size": 4, "micro_batch": "auto"})
    assert fits.refused == [4, 2]
    assert [r.message.split("; ")[1] for r in caplog.records if "out of memory" in r.message] == [
        "going on with a micro-batch of 2",
        "going on with a micro-batch of 1",
    ]
    found = run(name="short", training={"batch_size": 4, "micro_batch": "auto"})
    assert fits.refused == [4, 2], "the share is in the checkpoint"
    assert provenance(found)["micro_batch"] == 1
    weights, other = (load_file(path) for path in (expected, found))
    for name, values in weights.items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(other[name], values, atol=1e-5, rtol=0)


def test_says_what_takes_less_memory(run, monkeypatch):
    limit_windows(monkeypatch, 1)
    with pytest.raises(InputError, match="a micro-batch of 4 .* set training.micro_batch to 2 or less"):
        run(training={"batch_size": 4})
    limit_windows(monkeypatch, 0)
    with pytest.raises(InputError, match="a micro-batch of 1 .*activation_checkpointing: true"):
        run(name="auto", training={"batch_size": 2, "micro_batch": "auto"})


def limit_windows(monkeypatch, most: int) -> SimpleNamespace:
    """Let a loss of more windows than that run out of memory; the numbers that were refused."""
    right, found = train_vsr.Restoration.loss, SimpleNamespace(refused=[])

    def loss(self, network, batch):
        if len(batch["lq"]) > most:
            found.refused.append(len(batch["lq"]))
            raise torch.OutOfMemoryError
        return right(self, network, batch)

    monkeypatch.setattr(train_vsr.Restoration, "loss", loss)
    return found


OWN = """
from torch import nn
from torch.nn.functional import interpolate

class Mine(nn.Module):
    def __init__(self, factor: int = 4):
        super().__init__()
        self.conv, self.factor = nn.Conv2d(3, 3, 3, padding=1), factor

    def forward(self, clip):
        frames = interpolate(self.conv(clip.flatten(0, 1)), scale_factor=self.factor)
        return frames.unflatten(0, clip.shape[:2])
"""


@pytest.mark.parametrize(
    "model",
    [
        {"network": "mine.py:Mine"},
        {"network": "basicvsr", "num_feat": 8, "num_blocks": 1, "flow_num_feat": 4},
    ],
)
def test_other_networks_train(inputs, tmp_path, monkeypatch, model):
    monkeypatch.setattr(own_config, "_ROOT", tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    config, out = write_variant(tmp_path / "full.yaml"), tmp_path / "run" / "weights.safetensors"
    variant = yaml.safe_load(config.read_text())
    variant["model"] = model | {key: variant["model"][key] for key in ("num_frames", "feat_size")}
    config.write_text(yaml.safe_dump(variant))
    train_and_tidy(**inputs | {"config": config, "out": out})
    names = load_file(out).keys()
    assert ("own.conv.weight" in names) != ("spynet.mean" in names)
    assert log(out)[-1]["validation_psnr_rgb"] > 0
    (tmp_path / "mine.py").write_text(OWN.replace("int = 4", "int = 2"))
    if "mine.py:Mine" in model.values():
        with pytest.raises(InputError, match=r"full: network mine\.py:Mine: maps .* expected"):
            train_and_tidy(**inputs | {"config": config, "out": tmp_path / "other" / "weights.safetensors"})
