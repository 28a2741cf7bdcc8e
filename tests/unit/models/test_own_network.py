"""A person's own network: found, checked without being run, built, and every fault in it by name."""

import sys
from dataclasses import asdict

import pytest
import torch

from models import build_model, network_config, own_config
from models.basicvsr import BasicVSR
from models.config import BasicVSRConfig, ModelConfig
from models.own_config import OwnConfig
from models.own_network import OwnClipNetwork, OwnNetwork

SOURCE = '''
"""A network."""
from torch import nn
from torch.nn.functional import interpolate

class Mine(nn.Module):
    """What it does."""
    def __init__(self, width: int = 4, factor: float = 0.5, *, activation: str = "relu"):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.width, self.factor = width, factor

    def forward(self, clip):
        frames = interpolate(self.conv(clip.flatten(0, 1)), scale_factor=4, mode="bilinear")
        return frames.unflatten(0, clip.shape[:2])

class Whole(Mine):
    protocol = "clip"
    def __init__(self, width: int = 4):
        super().__init__(width)
'''


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The file `mine.py` in the repository, and the function that writes it anew."""
    monkeypatch.setattr(own_config, "_ROOT", tmp_path)

    def write(text: str) -> None:
        (tmp_path / "mine.py").write_text(text)

    write(SOURCE)
    return write


def test_settings_reach_the_class(source):
    config = network_config(
        {"network": "mine.py:Mine", "num_frames": 3, "settings": {"width": 9, "factor": 2}}
    )
    assert isinstance(config, OwnConfig) and (config.protocol, config.feat_size) == ("window", 64)
    model = build_model(config)
    assert isinstance(model, OwnNetwork) and (model.own.width, model.own.factor) == (9, 2)
    model.check()
    assert model(torch.rand(2, 3, 3, 8, 12)).shape == (2, 3, 3, 32, 48)
    assert model.spynet is None and not model.activation_checkpointing


def test_a_network_for_whole_clips(source):
    model = build_model(OwnConfig("mine.py:Whole"))
    assert isinstance(model, OwnClipNetwork) and model.config.protocol == "clip"
    clip = torch.rand(1, 7, 3, 8, 12)
    with torch.no_grad():
        restored = torch.stack([*model.restore(clip.unbind(1).__getitem__, 7)], dim=1)
        assert torch.equal(restored, model(clip))


def test_a_module_is_found_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "__init__.py").touch()
    (tmp_path / "person" / "nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    assert build_model(OwnConfig("person.nets:Mine", settings={"width": 3})).own.width == 3
    assert type(build_model(OwnConfig("person.nets:Mine")).own) is sys.modules["person.nets"].Mine


def test_an_edit_changes_the_digest_and_a_comment_does_not(source):
    config = OwnConfig("mine.py:Mine")
    source(SOURCE.replace("class Mine", "# a remark\n\n\nclass Mine"))
    assert OwnConfig("mine.py:Mine").code == config.code
    assert OwnConfig(**asdict(config)) == config
    source(SOURCE.replace("padding=1", "padding=1, bias=False"))
    assert OwnConfig("mine.py:Mine").code != config.code
    with pytest.raises(ValueError, match=r"mine\.py:Mine: has changed since; run the study again"):
        OwnConfig(**asdict(config))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(network="mine.py:None such"), "expected <file>.py:<class> or <module>:<class>"),
        (dict(network="other.py:Mine"), r"there is no .*other\.py"),
        (dict(network="no.such.module:Mine"), "there is no no.such.module"),
        (dict(network="mine.py:Other"), "the file defines no class Other"),
        (
            dict(settings={"depth": 3}),
            "model.depth: .* takes no such setting; it takes width, factor, activation",
        ),
        (dict(settings={"width": "3"}), "model.width: expected int as the default 4, got '3'"),
        (dict(settings={"activation": 3}), "model.activation: expected str"),
        (dict(num_frames=4), "model.num_frames: expected an odd number"),
        (dict(num_frames=0), "model.num_frames: expected an integer of at least 1"),
        (dict(feat_size=4.0), "model.feat_size: expected an integer of at least 8"),
    ],
)
def test_what_is_no_network_is_named(source, options, message):
    with pytest.raises(ValueError, match=message) as error:
        OwnConfig(**{"network": "mine.py:Mine"} | options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('protocol = "clip"', 'protocol = "film"', "unknown protocol 'film'; expected one of window, clip"),
        ("width: int = 4):", "width: int):", "__init__'s width needs a default value"),
        ("class Whole", "class class", r"line \d+: invalid syntax"),
    ],
)
def test_faults_of_the_source(source, old, new, message):
    source(SOURCE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        OwnConfig("mine.py:Whole")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scale_factor=4", "scale_factor=2", r"maps \(1, 5, 3, 16, 20\) to \(1, 5, 3, 32, 40\)"),
        ("Conv2d(3, 3", "Conv2d(4, 3", r"fails on \(1, 5, 3, 16, 20\): Given groups=1"),
        ("self.conv(", "self.missing(", "has no attribute 'missing'"),
    ],
)
def test_a_network_that_does_something_else_is_refused(source, old, new, message):
    source(SOURCE.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        build_model(OwnConfig("mine.py:Mine")).check()
    assert "\n" not in str(error.value)


def test_networks_by_name():
    assert network_config({"num_feat": 8}) == network_config({"network": "vsr_transformer", "num_feat": 8})
    assert network_config({"num_feat": 8}) == ModelConfig(num_feat=8)
    config = network_config({"network": "basicvsr", "num_feat": 8, "num_blocks": 1})
    assert config == BasicVSRConfig(num_feat=8, num_blocks=1) == network_config(asdict(config))
    assert isinstance(build_model(config), BasicVSR)
    with pytest.raises(
        ValueError, match="unknown network 'edvr'; expected vsr_transformer, basicvsr, <file>"
    ):
        network_config({"network": "edvr"})
    with pytest.raises(TypeError, match="depth"):
        network_config({"network": "basicvsr", "depth": 1})
