"""The trainer against plain loops with torch's own optimiser, schedule and clipping.

Shared with the code under test are only the network and the batches of frames. Each option must also move
the weights by far more than the tolerance: an option that the comparison cannot see is not tested by it.
"""

import json
from dataclasses import fields
from itertools import accumulate
from math import cos, pi
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_training import MODEL, TRAINING, write_stores, write_variant
from torch import Tensor, nn

from models import ModelConfig, blocks, build_model
from models.optical_flow import SPyNet
from models.vsr_transformer import VSRTransformer
from vsrbench.core.config import ABLATIONS, TrainingConfig, read_yaml
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.training_set import TrainingSet
from vsrbench.training.train_flow import train_flow
from vsrbench.training.train_vsr import train

ALIGNED = MODEL | {"feed_forward": "flow_aligned"}
STEPS = 12
PLAIN = TRAINING | {
    "iterations": STEPS,
    "log_interval": 1,
    "validation_interval": STEPS,
    "checkpoint_interval": STEPS,
}
RESTARTS = {"schedule": "cosine_restarts", "periods": [4, 5, 3], "restart_weights": [1, 0.5, 0.25]}
RELEASED = {  # ARCHITECTURE.md, section 11, the REDS recipe
    "batch_size": 32,
    "learning_rate": 2e-4,
    "betas": [0.9, 0.99],
    "schedule": "cosine_restarts",
    "periods": [300_000] * 4,
    "restart_weights": [1, 0.5, 0.5, 0.5],
    "minimum_learning_rate": 1e-7,
    "iterations": 1_200_000,
    "warmup_iterations": 0,
    "freeze_flow_iterations": 0,
    "gradient_clip": None,
    "ema_decay": None,
    "precision": "float32",
}
LIMIT = 1e-5  # of a weight; twelve steps at a learning rate of 1e-3 move it by up to 1e-2
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    save_file(SPyNet(4).state_dict(), folder / "flow.safetensors")
    return write_stores(folder, size=40) | {"flow_weights": folder / "flow.safetensors"}


@pytest.fixture
def train_tiny(inputs, tmp_path):
    """Weights and log of a tiny training by the code under test."""

    def run(recipe: dict, seed: int = 1, name: str = "run", **model) -> tuple[Weights, list[dict]]:
        config = write_variant(tmp_path / "full.yaml", ALIGNED | model, recipe)
        out = tmp_path / name / "weights.safetensors"
        train(**inputs, config=config, seed=seed, out=out, device="cpu")
        log = out.with_name("train.jsonl").read_text().splitlines()
        return load_file(out), [json.loads(line) for line in log]

    return run


@pytest.fixture(scope="module")
def plain(inputs) -> tuple[Weights, list[dict]]:
    """What the recipe gives that each option changes, by the plain loop."""
    return train_plainly(inputs, PLAIN)


def rates(recipe: dict) -> list[float]:
    """The learning rate of each step."""
    if recipe["schedule"] == "one_cycle":
        found = one_cycle(recipe)
    else:
        found = [cosine_restarts(recipe, step) for step in range(recipe["iterations"])]
    warmup = recipe.get("warmup_iterations", 0)
    return [rate * min(1, (step + 1) / max(warmup, 1)) for step, rate in enumerate(found)]


def one_cycle(recipe: dict) -> list[float]:
    peak = recipe["learning_rate"]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=recipe["iterations"],
        pct_start=0.3,
        div_factor=25,
        final_div_factor=peak / 25 / recipe["minimum_learning_rate"],
        cycle_momentum=False,
    )
    found = []
    for _ in range(recipe["iterations"]):
        found += scheduler.get_last_lr()
        optimizer.step()
        if len(found) < recipe["iterations"]:
            scheduler.step()
    return found


def cosine_restarts(recipe: dict, step: int) -> float:
    """As released: the step that ends a cycle still belongs to it."""
    floor = recipe["minimum_learning_rate"]
    starts = [0, *accumulate(recipe["periods"])]
    cycle = next(index for index, end in enumerate(starts[1:]) if step <= end)
    angle = pi * (step - starts[cycle]) / recipe["periods"][cycle]
    height = recipe["restart_weights"][cycle] * (recipe["learning_rate"] - floor)
    return floor + height / 2 * (1 + cos(angle))


def charbonnier(restored: Tensor, gt: Tensor) -> Tensor:
    return torch.sqrt((restored.float() - gt) ** 2 + 1e-12).sum()


def restore(network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    flows = (batch["flows_forward"], batch["flows_backward"]) if "flows_forward" in batch else None
    return network(batch["lq"].float() / 255, flows), batch["gt"].float() / 255


def start(inputs: dict, model: dict, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = build_model(ModelConfig(**ALIGNED | model))
    if network.spynet is not None:
        network.spynet.load_state_dict(load_file(inputs["flow_weights"]))
    return network


def train_plainly(inputs: dict, recipe: dict, seed: int = 1, **model) -> tuple[Weights, list[dict]]:
    """What the recipe gives: the weights, and a line for each step."""
    network = start(inputs, model, seed)
    batches = TrainingSet(
        FrameStore(inputs["store"].parent),
        num_frames=MODEL["num_frames"],
        size=MODEL["feat_size"],
        batch_size=recipe["batch_size"],
        seed=seed,
        with_flows=model.get("flow") == "oracle",
    )
    values = recipe["batch_size"] * MODEL["num_frames"] * 3 * (4 * MODEL["feat_size"]) ** 2
    optimizer = torch.optim.Adam(network.parameters(), betas=recipe["betas"], fused=True)
    decay = recipe.get("ema_decay") or 0
    average, log = None, []
    for step, rate in enumerate(rates(recipe)):
        if network.spynet is not None:
            network.spynet.requires_grad_(step >= recipe.get("freeze_flow_iterations", 0))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.get("precision") == "bfloat16"):
            loss = charbonnier(*restore(network, batches.batch(step + 1)))
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.get("gradient_clip") or float("inf"))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        now = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        average = average or now  # it starts at the weights after the first step
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
        log.append({"loss": loss.item() / values, "gradient_norm": norm.item(), "learning_rate": rate})
    return average, log


def distance(one: Weights, other: Weights) -> float:
    """The largest difference, but for the key's bias: its true gradient is 0, and Adam follows rounding."""
    assert one.keys() == other.keys()
    names = [name for name in one if not name.endswith("key.bias")]
    return max((one[name] - other[name]).abs().max().item() for name in names)


def assert_same_training(found: tuple[Weights, list[dict]], expected: tuple[Weights, list[dict]]) -> None:
    assert distance(found[0], expected[0]) <= LIMIT
    assert_same_steps(found[1], expected[1])


def assert_same_steps(found: list[dict], expected: list[dict]) -> None:
    for line, plain_line in zip(found, expected, strict=True):
        assert {key: line[key] for key in plain_line} == pytest.approx(plain_line, rel=1e-4)


OPTIONS = {
    "cosine_restarts": RESTARTS,
    "warmup": {"warmup_iterations": 5},
    "learning_rate": {"learning_rate": 2e-3},
    "minimum_learning_rate": {"minimum_learning_rate": 5e-4},
    "betas": {"betas": [0.5, 0.9]},
    "gradient_clip": {"gradient_clip": 500.0},
    "ema_decay": {"ema_decay": 0.7},
    "freeze_flow_iterations": {"freeze_flow_iterations": 5},
    "precision": {"precision": "bfloat16"},
    "batch_size": {"batch_size": 3},
}
# Options that must not change the weights; those of a GPU are tried on one, in tests/gpu.
NEUTRAL = {"activation_checkpointing": True, "compile": True, "micro_batch": 1, "deterministic": False}


def test_the_plain_recipe(train_tiny, plain):
    assert_same_training(train_tiny(PLAIN), plain)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_of_the_recipe(train_tiny, inputs, plain, option):
    recipe = PLAIN | OPTIONS[option]
    expected = train_plainly(inputs, recipe)
    assert distance(plain[0], expected[0]) > 30 * LIMIT
    assert_same_training(train_tiny(recipe), expected)


def test_every_option_is_tried():
    tried = set().union(*OPTIONS.values(), NEUTRAL, PLAIN)
    assert tried == {field.name for field in fields(TrainingConfig)}


def test_activation_checkpointing_changes_nothing(train_tiny, plain, monkeypatch):
    checkpointed = Mock(wraps=blocks.checkpoint)
    monkeypatch.setattr(blocks, "checkpoint", checkpointed)
    assert_same_training(train_tiny(PLAIN | {"activation_checkpointing": True}), plain)
    checkpointed.assert_called()


@pytest.mark.parametrize("micro_batch", [1, 2, 3, "auto"])
def test_shares_of_a_batch_add_up_to_it(train_tiny, inputs, micro_batch):
    recipe = PLAIN | {"batch_size": 4}
    found = train_tiny(recipe | {"micro_batch": micro_batch})
    assert_same_training(found, train_plainly(inputs, recipe))


@pytest.mark.slow
def test_compilation_changes_only_the_rounding(train_tiny, plain):
    """Over three steps: afterwards Adam has made more of it."""
    _, log = train_tiny(PLAIN | {"compile": True})
    assert_same_steps(log[:3], plain[1][:3])


def test_compiles_where_asked(train_tiny, monkeypatch):
    compiled = Mock()
    monkeypatch.setattr(VSRTransformer, "compile", compiled)
    train_tiny(PLAIN | {"iterations": 1})
    compiled.assert_not_called()
    train_tiny(PLAIN | {"iterations": 1, "compile": True}, name="compiled")
    compiled.assert_called_once_with()


def test_the_seed_reaches_the_first_weights_and_the_order_of_windows(train_tiny, inputs, plain):
    expected = train_plainly(inputs, PLAIN, seed=2)
    assert distance(plain[0], expected[0]) > 30 * LIMIT
    assert_same_training(train_tiny(PLAIN, seed=2), expected)


def test_every_epoch_has_its_own_order(inputs):
    windows = TrainingSet(
        FrameStore(inputs["store"].parent), num_frames=3, size=16, batch_size=6, seed=1
    ).windows
    epochs = [[(window.clip, window.start) for window in windows(epoch)] for epoch in (1, 2, 3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [(clip, start) for clip in (0, 1) for start in range(3)]


def test_exact_flow_in_place_of_spynet(train_tiny, inputs):
    expected = train_plainly(inputs, PLAIN, flow="oracle")
    assert_same_training(train_tiny(PLAIN, flow="oracle"), expected)


def test_full_yaml_is_the_released_recipe():
    recipe = read_yaml(ABLATIONS / "full.yaml")["training"]
    assert {key: recipe[key] for key in RELEASED} == RELEASED


def test_the_first_steps_of_the_released_recipe(train_tiny, inputs):
    recipe = PLAIN | RELEASED | {"iterations": STEPS, "batch_size": 2}
    assert_same_training(train_tiny(recipe), train_plainly(inputs, recipe))


def test_the_averaged_network_is_validated(train_tiny, inputs):
    weights, log = train_tiny(PLAIN | {"ema_decay": 0.7})
    network = start(inputs, {}, seed=1)
    network.load_state_dict(weights)
    lq, gt = middle_window(inputs["validation_store"].parents[2] / "clips" / "clip2")
    with torch.no_grad():
        restored = network(lq / 255)
    error = (restored.clamp(0, 1) * 255).round() - gt
    expected = 20 * torch.log10(255 / error.square().mean((-3, -2, -1)).sqrt()).mean()
    assert log[-1]["validation_psnr_rgb"] == pytest.approx(expected.item(), abs=1e-4)


def middle_window(folder: Path) -> tuple[Tensor, Tensor]:
    """lq (1, 3, 3, 16, 16) and gt (1, 3, 3, 64, 64), 0 to 255: the middle of 5 frames of 40 x 40."""
    lq, gt = (np.stack([read(folder / name / f"{t:08d}.png") for t in (1, 2, 3)]) for name in ("lq", "gt"))
    lq, gt = lq[:, 12:28, 12:28], gt[:, 48:112, 48:112]
    return tuple(torch.from_numpy(frames).float().movedim(-1, 1)[None] for frames in (lq, gt))


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].copy()


def train_flow_plainly(inputs: dict, steps: int, num_feat: int, size: int) -> Weights:
    """SPyNet on both directions of each pair; each level's end-point error counts alike."""
    torch.manual_seed(1)
    network = SPyNet(num_feat)
    for level in network.levels:
        for conv in level:
            nn.init.kaiming_normal_(conv.weight)
        level[-1].weight.data *= 0.03
    batches = TrainingSet(
        FrameStore(inputs["store"].parent), num_frames=2, size=size, batch_size=2, seed=1, with_flows=True
    )
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), fused=True)
    recipe = {
        "iterations": steps,
        "learning_rate": 1e-3,
        "schedule": "one_cycle",
        "minimum_learning_rate": 1e-7,
    }
    for step, rate in enumerate(rates(recipe)):
        batch = batches.batch(step + 1)
        loss = 0
        for one, other, flow in (
            (0, 1, batch["flows_backward"][:, 0]),
            (1, 0, batch["flows_forward"][:, 1]),
        ):
            ref, supp = batch["lq"][:, one].float() / 255, batch["lq"][:, other].float() / 255
            for level, found in zip((8, 4, 2, 1), network.coarse_to_fine(ref, supp)[2:], strict=True):
                exact = F.avg_pool2d(flow, level) / level
                error = torch.sqrt(((found - exact) ** 2).sum(1) + 1e-12)
                loss = loss + level**3 * error.sum()  # level**2 fewer pixels, shorter by level
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return network.state_dict()


def test_flow_training(inputs, tmp_path):
    out = tmp_path / "weights.safetensors"
    settings = {"num_feat": 8, "iterations": STEPS, "batch_size": 2, "crop_size": 32, "learning_rate": 1e-3}
    stores = {key: inputs[key] for key in ("store", "validation_store")}
    train_flow(**stores, **settings, seed=1, out=out, device="cpu")
    assert distance(load_file(out), train_flow_plainly(inputs, STEPS, num_feat=8, size=32)) <= LIMIT
