"""A training step asks the device for nothing: each such question would stop it from computing ahead."""

from collections import Counter
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import MODEL, TRAINING, write_stores, write_variant
from torch.utils._python_dispatch import TorchDispatchMode

from models.optical_flow import SPyNet
from vsrbench.core import device
from vsrbench.training import trainer
from vsrbench.training.train_vsr import train

# Operations that need a value on the host, or that bring one from there.
QUESTIONS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "lift_fresh", "masked_select", "unique")


class Questions(TorchDispatchMode):
    """Counts the questions of a block."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        if name in QUESTIONS:
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_file(SPyNet(4).state_dict(), folder / "flow.safetensors")
    return write_stores(folder, size=40) | {"flow_weights": folder / "flow.safetensors"}


VARIANTS = {
    "full": {},
    "fcsa": {"attention": "fcsa"},
    "no_attention": {"attention": "none"},
    "token_wise_ffn": {"feed_forward": "token_wise"},
    "unaligned_ffn": {"feed_forward": "unaligned"},
    "channel_norm": {"norm": "channel"},
    "learned": {"positional_encoding": "learned"},
    "as_described": {"positional_encoding": "sinusoidal_3d"},
    "oracle_flow": {"flow": "oracle"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_asks_nothing(inputs, tmp_path, monkeypatch, variant):
    asked = Questions()
    for name in ("_gradients", "_update"):
        monkeypatch.setattr(trainer.Trainer, name, watched(getattr(trainer.Trainer, name), asked))
    model = MODEL | {"feed_forward": "flow_aligned"} | VARIANTS[variant]
    recipe = TRAINING | {"gradient_clip": 1.0, "ema_decay": 0.9}
    config = write_variant(tmp_path / "full.yaml", model, recipe)
    train(**inputs, config=config, seed=1, out=tmp_path / "run" / "weights.safetensors", device="cpu")
    assert not asked.counts


def watched(method, asked):
    def call(*args):
        with asked:
            return method(*args)

    return call


def test_questions_are_noticed():
    with Questions() as asked:
        torch.ones(()).item()
        torch.ones(3).new_tensor([1, 2])
    assert asked.counts == {"_local_scalar_dense": 1, "lift_fresh": 1}


def test_values_are_read_a_step_late(inputs, tmp_path, monkeypatch):
    """Between two saves; before one, every value is known."""
    events = []
    read, update = device.DeviceValues.read, trainer.Trainer._update
    monkeypatch.setattr(device.DeviceValues, "read", lambda self: events.append("read") or read(self))
    monkeypatch.setattr(trainer.Trainer, "_update", lambda *args: events.append("update") or update(*args))
    monkeypatch.setattr(trainer, "save_checkpoint", Mock(side_effect=lambda *args: events.append("save")))
    intervals = {"checkpoint_interval": 3, "log_interval": 4, "validation_interval": 4}
    recipe = TRAINING | {"iterations": 4} | intervals
    config = write_variant(tmp_path / "full.yaml", MODEL, recipe)
    inputs = inputs | {"flow_weights": None}
    train(**inputs, config=config, seed=1, out=tmp_path / "run" / "weights.safetensors", device="cpu")
    first = ["update", "update", "read", "update", "read", "read", "save"]
    assert events == [*first, "update", "read", "save"]
