"""SPyNet learns flow from exact examples, and foreign weights come in under our names."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import write_stores

from models.optical_flow import SPyNet
from vsrbench.core.errors import InputError
from vsrbench.training import training_log
from vsrbench.training.train_flow import import_flow, train_flow

SETTINGS = {
    "seed": 1,
    "num_feat": 8,
    "batch_size": 2,
    "crop_size": 32,
    "learning_rate": 1e-3,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict:
    return write_stores(tmp_path_factory.mktemp("flow"), size=40)


def test_it_learns_flow(stores, tmp_path):
    out = tmp_path / "weights.safetensors"
    train_flow(**stores, **SETTINGS | {"num_feat": 32}, iterations=150, out=out)
    scores = json.loads(out.with_name("provenance.json").read_text())["result"]
    assert scores["validation_end_point_error"] < 0.8 * scores["validation_mean_motion"]
    SPyNet(32).load_state_dict(load_file(out))


def test_a_stop_changes_nothing(stores, tmp_path, monkeypatch):
    whole, parts = (tmp_path / name / "weights.safetensors" for name in ("whole", "parts"))
    train_flow(**stores, **SETTINGS, iterations=4, out=whole)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(training_log.RunLog, "step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        train_flow(**stores, **SETTINGS, iterations=4, out=parts)
    assert not parts.exists()
    train_flow(**stores, **SETTINGS, iterations=4, out=parts)
    assert parts.read_bytes() == whole.read_bytes()


def test_crops_must_fit_the_pyramid(stores, tmp_path):
    with pytest.raises(InputError, match="crop_size: expected a multiple of 32"):
        train_flow(
            **stores, **SETTINGS | {"crop_size": 24}, iterations=4, out=tmp_path / "weights.safetensors"
        )


def test_foreign_weights_come_in_under_our_names(tmp_path):
    spynet = SPyNet(8)
    foreign = {
        f"basic_module.{level}.basic_module.{layer}.conv.{kind}": values
        for name, values in spynet.state_dict().items()
        if name.startswith("levels")
        for _, level, layer, kind in [name.split(".")]
    }
    torch.save(foreign, tmp_path / "spynet.pth")
    import_flow(weights=tmp_path / "spynet.pth", out=tmp_path / "flow" / "weights.safetensors")
    imported = load_file(tmp_path / "flow" / "weights.safetensors")
    assert all(torch.equal(imported[name], values) for name, values in spynet.state_dict().items())
    facts = json.loads((tmp_path / "flow" / "provenance.json").read_text())
    assert facts["source"].endswith("spynet.pth") and len(facts["sha256"]) == 64


def test_weights_of_another_width_are_refused(tmp_path):
    torch.save(SPyNet(16).state_dict(), tmp_path / "spynet.pth")
    with pytest.raises(InputError, match="spynet.pth: SPyNet of width 16, but model.flow_num_feat is 8; set"):
        import_flow(weights=tmp_path / "spynet.pth", out=tmp_path / "weights.safetensors", num_feat=8)


def test_weights_that_are_none_are_refused(tmp_path):
    (tmp_path / "spynet.pth").write_text("not found")
    with pytest.raises(InputError, match="spynet.pth"):
        import_flow(weights=tmp_path / "spynet.pth", out=tmp_path / "weights.safetensors")
