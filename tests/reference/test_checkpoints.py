"""Names, shapes and counts of the released checkpoints, and the way through our network and back."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from models import build_model, load_official, save_official
from models.config import ModelConfig
from models.official import official_name

TABLES = json.loads((Path(__file__).parent / "tables.json").read_text())


def state_dict(config: ModelConfig) -> dict[str, torch.Tensor]:
    """Random values under the released names."""
    with torch.device("meta"):
        model = build_model(config)
    generator = torch.Generator().manual_seed(0)
    return {
        official_name(name): torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.state_dict().items()
    }


def test_published_network_has_the_recorded_names_and_shapes():
    lines = [f"{name} {list(tensor.shape)}" for name, tensor in state_dict(ModelConfig()).items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == TABLES["names_and_shapes_sha256"]


@pytest.mark.parametrize("key", TABLES["entries_and_parameters"])
def test_sizes(key):
    depth, frames = int(key[5]), int(key[-1])
    with torch.device("meta"):
        model = build_model(ModelConfig(depth=depth, num_frames=frames))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert [len(model.state_dict()), parameters] == TABLES["entries_and_parameters"][key]


def test_published_network_comes_back_bit_for_bit(tmp_path):
    released = state_dict(ModelConfig())
    save_official(load_official({"params": released}), tmp_path / "again.pth")
    again = torch.load(tmp_path / "again.pth", weights_only=True)["params"]
    assert list(again) == list(released)
    assert all(torch.equal(again[name], tensor) for name, tensor in released.items())
