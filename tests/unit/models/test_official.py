"""Released checkpoints in every wrapping, and each fault in them by name."""

import os
import pickle

import pytest
import torch

from models import ModelConfig, build_model, load_official, save_official
from models.official import official_name
from models.optical_flow import SPyNet
from models.state_dicts import load_spynet

SIZES = dict(num_feat=8, depth=2, num_extract_blocks=1, num_reconstruct_blocks=2)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(ModelConfig(**SIZES, num_frames=7, num_heads=2, patch_size=16))


@pytest.fixture
def released(model):
    return {official_name(name): tensor.clone() for name, tensor in model.state_dict().items()}


def load(source):
    return load_official(source, num_frames=7, num_heads=2, patch_size=16)


def basicsr_names(tensors):
    """SPyNet's layers as BasicSR counts them, activations included."""
    renamed = {}
    for name, tensor in tensors.items():
        if ".conv." in name and "basic_module" in name:
            head, layer, _, kind = name.rsplit(".", 3)
            name = f"{head}.{2 * int(layer)}.{kind}".replace("spynet.spynet.", "spynet.")
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"params": tensors},
        lambda tensors: {"params": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {name: tensor for name, tensor in tensors.items() if "pos_embedding" not in name},
        lambda tensors: tensors | {"pos_embedding.penc.cached_penc": torch.zeros(1)},
        basicsr_names,
    ],
    ids=["bare", "params", "module", "no position buffer", "newer position buffer", "BasicSR's SPyNet"],
)
def test_every_wrapping_loads(model, released, wrap, tmp_path):
    torch.save(wrap(released), tmp_path / "net.pth")
    for source in (wrap(released), tmp_path / "net.pth", str(tmp_path / "net.pth")):
        loaded = load(source)
        assert loaded.config == model.config
        assert not loaded.training
        expected = model.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_saved_file_is_what_the_released_code_reads(model, released, tmp_path):
    save_official(model, tmp_path / "net.pth")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]
    again = torch.load(tmp_path / "net.pth", weights_only=True)["params"]
    assert list(again) == list(released)
    assert all(torch.equal(again[name], tensor) for name, tensor in released.items())


@pytest.mark.parametrize(
    "option", [dict(norm="channel"), dict(attention="fcsa"), dict(num_feed_forward_blocks=2)]
)
def test_a_network_that_the_released_code_cannot_express_is_not_saved(option, tmp_path):
    with torch.device("meta"):
        model = build_model(ModelConfig(**SIZES | option))
    with pytest.raises(ValueError, match=f"model.{next(iter(option))} is"):
        save_official(model, tmp_path / "net.pth")
    assert not list(tmp_path.iterdir())


def test_each_fault_is_named(released):
    del released["conv_last.bias"]
    released["conv_extra.weight"] = torch.zeros(1)
    released["upconv1.weight"] = torch.zeros(32, 8, 1, 1)
    with pytest.raises(ValueError) as caught:
        load(released)
    message = str(caught.value)
    assert "conv_last.bias is missing" in message
    assert "conv_extra.weight is unknown" in message
    assert "upconv1.weight: expected shape (32, 8, 3, 3), got (32, 8, 1, 1)" in message
    assert "\n" not in message


def test_many_faults_stay_one_line(released):
    kept = {name: tensor for name, tensor in released.items() if "layers.0.1.fn.fn.forward" not in name}
    with pytest.raises(ValueError, match="main.0.weight is missing; .*, and 119 more problems") as caught:
        load(kept)
    assert "\n" not in str(caught.value)


def test_position_buffer_of_another_window_is_refused(released):
    with pytest.raises(ValueError, match=r"inv_freq: expected shape \(1,\), got \(2,\)"):
        load_official(released, num_frames=5, num_heads=2, patch_size=16)


class Code:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"params": Code()}, protocol=2), "contains code, which is not run"),
        (b"not a checkpoint", "not a checkpoint"),
        (b"", "damaged"),
        (None, "No such file"),
    ],
)
def test_files_that_are_no_checkpoint(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    if content is not None:
        path.write_bytes(content)
    for read in (load_official, load_spynet):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_truncated_file_is_refused(released, tmp_path):
    torch.save({"params": released}, tmp_path / "net.pth")
    (tmp_path / "net.pth").write_bytes((tmp_path / "net.pth").read_bytes()[:10000])
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "content", [{}, {"params": {}}, {"params": {"conv.weight": torch.zeros(1)}}, {"epoch": 3}, torch.zeros(1)]
)
def test_content_that_is_no_network(content, tmp_path):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth: (has no|expected a mapping)"):
        load_official(tmp_path / "net.pth")


@pytest.mark.parametrize("layout", ["MMEditing", "BasicSR", "wrapped", "own"])
def test_spynet_in_every_layout(layout, tmp_path):
    spynet = SPyNet(16)
    own = spynet.state_dict()
    bare = {official_name(f"spynet.{name}").removeprefix("spynet.spynet."): own[name] for name in own}
    bare = {name: tensor for name, tensor in bare.items() if name.startswith("basic_module")}
    layouts = {
        "MMEditing": bare,
        "BasicSR": {"params": basicsr_names(bare)},
        "wrapped": {"state_dict": bare},
        "own": own,
    }
    torch.save(layouts[layout], tmp_path / "spynet.pth")
    loaded = load_spynet(tmp_path / "spynet.pth").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in own.items())


def test_spynet_file_with_a_fault(tmp_path):
    tensors = SPyNet(16).state_dict()
    del tensors["levels.3.2.bias"]
    torch.save(tensors, tmp_path / "spynet.pth")
    with pytest.raises(ValueError, match=r"basic_module\.3\.basic_module\.2\.conv\.bias is missing"):
        load_spynet(tmp_path / "spynet.pth")
