"""Two processes that share a batch follow the gradient of one that has it whole."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file
from tiny_training import write_stores, write_variant

from models import build_model
from models.optical_flow import SPyNet
from vsrbench.training import train_vsr, trainer
from vsrbench.training.checkpoint import list_checkpoints

fork = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def gradients(options: dict, out, environment: dict[str, str]) -> None:
    """Train, and save the gradients of the last iteration."""
    torch.set_num_threads(1)
    os.environ.update(environment)
    update = trainer.Trainer._update

    def save_and_update(trainer, rate, norm):
        if trainer.group.rank == 0:
            torch.save(
                {n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None},
                out.with_name("gradients"),
            )
        update(trainer, rate, norm)

    trainer.Trainer._update = save_and_update
    # In float64: float32 sums over so many pixels differ by 3e-6 when their order does.
    train_vsr.build_model = lambda config: build_model(config).double()
    train_vsr._unit = lambda frames: frames.double() / 255
    train_vsr.charbonnier = lambda restored, gt: (restored - gt).square().add(1e-12).sqrt().sum()
    train_vsr.train(**options, out=out)


def run(options: dict, out, world_size: int) -> dict[str, torch.Tensor]:
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world_size)}
    processes = [
        fork.Process(
            target=gradients, args=(options, out, place | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * world_size
    return torch.load(out.with_name("gradients"), weights_only=True)


@pytest.mark.parametrize("feed_forward", ["flow_aligned", "token_wise"])
def test_gradients_do_not_depend_on_the_number_of_processes(tmp_path, feed_forward):
    config = write_variant(
        tmp_path / "full.yaml",
        model={"feed_forward": feed_forward, "flow": "spynet"},
        training={"iterations": 2, "batch_size": 4, "freeze_flow_iterations": 1},
    )
    save_file(SPyNet(4).state_dict(), tmp_path / "flow.safetensors")
    options = write_stores(tmp_path) | {"config": config, "flow_weights": tmp_path / "flow.safetensors"}
    options |= {"seed": 1, "device": "cpu"}
    one, two = (
        run(options, tmp_path / f"{world_size}" / "weights.safetensors", world_size) for world_size in (1, 2)
    )
    assert one.keys() == two.keys()
    largest = max(gradient.abs().max() for gradient in one.values())
    for name in one:
        assert (one[name] - two[name]).abs().max() <= 1e-6 * largest, name


def torchrun(folder: Path, out: Path, stores: dict, **training) -> list:
    """The command that trains on two processes."""
    config = write_variant(folder / "full.yaml", training={"batch_size": 4} | training)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "vsrbench", "train", "--config", config, "--seed", "1", "--out", out]
    return [*command, "--store", stores["store"], "--validation-store", stores["validation_store"]]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_next_start_is_bit_exact(tmp_path):
    stores = write_stores(tmp_path)
    training = {"iterations": 200, "checkpoint_interval": 40, "validation_interval": 40}
    killed, whole = (tmp_path / name / "weights.safetensors" for name in ("killed", "whole"))
    command = torchrun(tmp_path, killed, stores, **training)
    first = subprocess.Popen(command)
    checkpoints = killed.with_name("checkpoints")
    while not (checkpoints.is_dir() and list_checkpoints(checkpoints)):
        assert first.poll() is None
        time.sleep(0.02)
    workers = [child for child in psutil.Process(first.pid).children() if "train" in child.cmdline()]
    assert len(workers) == 2
    workers[1].kill()
    begun = time.monotonic()
    assert first.wait(30) != 0 and time.monotonic() - begun < 30
    assert not any(worker.is_running() for worker in workers)
    assert not killed.exists()
    subprocess.run(command, check=True)
    subprocess.run(torchrun(tmp_path, whole, stores, **training), check=True)
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_torchrun_passes_a_stop_on_and_goes_on_later(tmp_path):
    stores = write_stores(tmp_path)
    out = tmp_path / "run" / "weights.safetensors"
    command = torchrun(tmp_path, out, stores, iterations=300, checkpoint_interval=1000)
    first = subprocess.Popen(command)
    log = out.with_name("train.jsonl")
    while not (log.is_file() and log.read_text()):
        assert first.poll() is None
        time.sleep(0.05)
    first.terminate()
    assert first.wait(60) != 0
    assert len(list_checkpoints(out.with_name("checkpoints"))) == 1
    subprocess.run(command, check=True)
    facts = json.loads(out.with_name("provenance.json").read_text())
    assert (facts["attempts"], facts["machines"][0]["processes"]) == (2, 2)
    assert [json.loads(line)["iteration"] for line in log.read_text().splitlines()][-1] == 300
