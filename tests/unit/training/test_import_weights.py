"""Weights that were trained elsewhere become those of a run, tensor by tensor, or are refused in one line."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_training import write_variant

from models import build_model, save_official
from models.config import BasicVSRConfig, ModelConfig
from vsrbench.core.config import load_variant
from vsrbench.core.errors import InputError
from vsrbench.training.import_weights import import_weights

OFFICIAL = ModelConfig(num_feat=8, depth=1, num_extract_blocks=1, num_reconstruct_blocks=1)
BASICVSR = BasicVSRConfig(num_feat=8, num_blocks=1)


def import_for(model, checkpoint, folder):
    """Import `checkpoint` for a variant with that network; return the weights and their provenance."""
    config = write_variant(folder / "full.yaml")
    resolved = replace(load_variant(config), model=model, weights=str(checkpoint))
    config.write_text(yaml.safe_dump(resolved.to_dict()))
    out = folder / "run" / "weights.safetensors"
    import_weights(config=config, weights=checkpoint, out=out)
    return load_file(out), json.loads((out.parent / "provenance.json").read_text())


def save_released(network, path):
    save_official(network, path)


def save_basicsr(network, path):
    from models.basicvsr_checkpoints import basicsr_name

    torch.save({"params": {basicsr_name(name): t for name, t in network.state_dict().items()}}, path)


def save_own(network, path):
    save_file(network.state_dict(), path)


@pytest.mark.parametrize(
    ("model", "save", "name"),
    [
        (OFFICIAL, save_released, "VSR_REDS4.pth"),
        (OFFICIAL, save_own, "weights.safetensors"),
        (BASICVSR, save_basicsr, "basicvsr.pth"),
    ],
)
def test_weights_are_those_of_the_checkpoint(tmp_path, model, save, name):
    network = build_model(model)
    save(network, tmp_path / name)
    weights, facts = import_for(model, tmp_path / name, tmp_path)
    expected = network.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert facts["source"] == name and len(facts["sha256"]) == 64 and facts["device_hours"] == 0


@pytest.mark.parametrize("model", [replace(OFFICIAL, num_feat=12), replace(OFFICIAL, depth=2), BASICVSR])
def test_weights_of_another_network_are_refused(tmp_path, model):
    save_official(build_model(OFFICIAL), tmp_path / "VSR_REDS4.pth")
    with pytest.raises(
        InputError, match=r"^[^\n]*VSR_REDS4.pth: not the weights of full \([^\n]*\); correct"
    ):
        import_for(model, tmp_path / "VSR_REDS4.pth", tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(InputError, match=r"^[^\n]*page.pth: not the weights of full \([^\n]*$"):
        import_for(OFFICIAL, tmp_path / "page.pth", tmp_path)
