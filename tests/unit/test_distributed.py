"""Two processes that share a batch follow the gradient of one that has it whole."""

import multiprocessing
import os
import socket

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import write_stores, write_variant

from models import build_model
from models.optical_flow import SPyNet
from vsrbench import loop, training

fork = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def gradients(options: dict, out, environment: dict[str, str]) -> None:
    """Train, and save the gradients of the last iteration."""
    torch.set_num_threads(1)
    os.environ.update(environment)
    update = loop.Trainer._update

    def save_and_update(trainer, rate, norm):
        if trainer.group.rank == 0:
            torch.save(
                {n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None},
                out.with_name("gradients"),
            )
        update(trainer, rate, norm)

    loop.Trainer._update = save_and_update
    # In float64: float32 sums over so many pixels differ by 3e-6 when their order does.
    training.build_model = lambda config: build_model(config).double()
    training._unit = lambda frames: frames.double() / 255
    training.charbonnier = lambda restored, gt: (restored - gt).square().add(1e-12).sqrt().sum()
    training.train(**options, out=out)


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
