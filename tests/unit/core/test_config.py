"""Studies and ablations: what is merged, and that every mistake is one line that names its place."""

from dataclasses import replace

import pytest
import yaml

from models import own_config
from models.config import BasicVSRConfig
from vsrbench.core import config
from vsrbench.core.errors import InputError

STUDY = {"study": "tiny", "train_on": "reds", "degradation": "BI", "overrides": {"model": {"num_feat": 8}}}


@pytest.fixture
def ablations(tmp_path, monkeypatch):
    """A folder of ablations with the shipped full model; returns a function that adds one."""
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "full.yaml").write_text((config.ABLATIONS / "full.yaml").read_text())
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(config, "ABLATIONS", tmp_path / "ablations")

    def add(name: str, **content):
        description = {"title": "A", "question": "B?"} | content
        (tmp_path / "ablations" / f"{name}.yaml").write_text(yaml.safe_dump(description))

    return add


def test_full_model_takes_the_study_size_and_keeps_the_rest():
    full = config.resolve_variant(STUDY, "full")
    assert (full.model.num_feat, full.model.depth, full.changes) == (8, 5, {})


def test_ablation_changes_what_it_states_and_nothing_else():
    full, fcsa = (config.resolve_variant(STUDY, name).to_dict() for name in ("full", "fcsa"))
    assert fcsa["model"] == full["model"] | {"attention": "fcsa"}
    assert fcsa["training"] == full["training"]


def test_resolved_variant_survives_its_file(tmp_path):
    variant = config.resolve_variant(STUDY, "no_position_information")
    path = tmp_path / "variant.yaml"
    path.write_text(yaml.safe_dump(variant.to_dict()))
    assert config.load_variant(path) == variant


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"changes": {"model": {"widht": 3}}}, "changes.model.widht: full.yaml has no such key"),
        ({"changes": {"model": {"attention": "stcsa"}}}, "is already the full model's value"),
        (
            {"changes": {"model": {"attention": "sparse"}}},
            "unknown value 'sparse'; expected one of stcsa, fcsa",
        ),
        (
            {"changes": {"model": {"depth": "three"}}},
            "model.depth: expected an integer of at least 1",
        ),
        ({"changes": {"model": {"depth": True}}}, "model.depth: expected an integer of at least 1, got True"),
        ({"changes": {"model": {"patch_size": 7}}}, "7 does not divide model.feat_size 64"),
        ({"changes": {"training": {"learning_rate": "fast"}}}, "training.learning_rate"),
        ({"changes": {"training": {"learning_rate": "1e-3"}}}, "YAML reads that as a string, write 0.001"),
        ({"changes": {"training": {"minimum_learning_rate": "1e-6"}}}, "write 1.0e-06"),
        ({"changes": {"training": {"minimum_learning_rate": 0.1}}}, "training.minimum_learning_rate"),
        ({"changes": {"training": {"betas": [0.9, "0.999"]}}}, "training.betas"),
        ({"changes": {"training": {"periods": [0, 1200000, 1, 1]}}}, "training.periods"),
        ({"changes": {"training": {"restart_weights": ["1", 1, 1, 1]}}}, "training.restart_weights"),
        ({"changes": {"training": {"ema_decay": "0.999"}}}, "training.ema_decay"),
        ({"changes": {"training": {"gradient_clip": "1"}}}, "training.gradient_clip"),
        ({"changes": {"optimizer": {"name": "sgd"}}}, "'optimizer' was unexpected"),
        ({"changes": {}}, "changes"),
        ({"changes": {"model": {"depth": 3, "num_heads": 2}}}, "add a because: line"),
        ({"changes": {"model": {"depth": 3}}, "base": "fcsa"}, "'base' was unexpected"),
    ],
)
def test_mistake_in_an_ablation_is_one_line_with_file_and_key(ablations, content, message):
    ablations("wrong", **content)
    with pytest.raises(InputError) as error:
        config.resolve_variant(STUDY, "wrong")
    assert "ablations/wrong.yaml" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_variant_names_the_known_ones():
    with pytest.raises(InputError, match="unknown variant 'fsca'; expected one of .*fcsa"):
        config.resolve_variant(STUDY, "fsca")


def test_unknown_override_names_the_study():
    with pytest.raises(InputError, match="study tiny: overrides.model.width: full.yaml has no such key"):
        config.resolve_variant(STUDY | {"overrides": {"model": {"width": 8}}}, "full")


@pytest.mark.parametrize(
    ("content", "place"),
    [(b"study: demo\nseeds: [0, 1\nx: 2", ", line 3"), (b"\x89PNG", ""), ("für".encode("latin-1"), "")],
)
def test_broken_yaml_names_the_file_and_the_line(tmp_path, content, place):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"study\.yaml{place}: not YAML: \S[^\n]*$"):
        config.read_yaml(path)


def test_smaller_budget_shortens_every_period_alike():
    full = config.resolve_variant(STUDY, "full")
    schedule = {"warmup_iterations": 2000, "freeze_flow_iterations": 30000}
    full = replace(full, training=replace(full.training, **schedule))
    quarter = config.at_budget(full, 300_000)
    assert (quarter.variant, quarter.shortened, full.shortened) == ("full_at_300000", "full", None)
    assert quarter.training == replace(
        full.training,
        iterations=300_000,
        periods=(75_000,) * 4,
        warmup_iterations=500,
        freeze_flow_iterations=7500,
    )
    assert quarter.model == full.model and "300,000 iterations" in quarter.title
    assert sum(config.at_budget(full, 7).training.periods) >= 7


@pytest.mark.parametrize("iterations", [1_200_000, 1_200_001])
def test_budget_that_is_not_smaller_is_refused(iterations):
    with pytest.raises(InputError, match=f"study tiny: budgets: {iterations} is not below full's"):
        config.at_budget(config.resolve_variant(STUDY, "full"), iterations)


NETWORK = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
"""


def test_another_network_shares_what_all_networks_of_a_study_have(ablations):
    study = STUDY | {"overrides": {"model": {"num_frames": 3, "feat_size": 32, "flow_num_feat": 16}}}
    ablations(
        "recurrent", network="basicvsr", changes={"model": {"num_blocks": 2}, "training": {"batch_size": 2}}
    )
    variant = config.resolve_variant(study | {"networks": {"recurrent": {"num_feat": 8}}}, "recurrent")
    sizes = dict(num_frames=3, feat_size=32, flow_num_feat=16, num_feat=8, num_blocks=2)
    assert variant.model == BasicVSRConfig(**sizes)
    assert variant.training == replace(config.resolve_variant(study, "full").training, batch_size=2)
    assert variant.changes["model"]["network"] == "basicvsr"


def test_an_own_network_survives_its_file(ablations, tmp_path, monkeypatch):
    monkeypatch.setattr(own_config, "_ROOT", tmp_path)
    (tmp_path / "mine.py").write_text(NETWORK)
    ablations("mine", network="mine.py:Mine", changes={"model": {"width": 2, "num_frames": 7}})
    variant = config.resolve_variant(STUDY | {"networks": {"mine": {"width": 3, "feat_size": 16}}}, "mine")
    assert (variant.model.num_frames, variant.model.feat_size) == (7, 16)
    assert variant.model.settings == {"width": 2} and variant.model.code
    (tmp_path / "variant.yaml").write_text(yaml.safe_dump(variant.to_dict()))
    assert config.load_variant(tmp_path / "variant.yaml") == variant
    (tmp_path / "mine.py").write_text(NETWORK.replace("__init__()", "__init__(1)"))
    with pytest.raises(InputError, match=r"mine\.py:Mine: has changed since; run the study again"):
        config.load_variant(tmp_path / "variant.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"network": "edvr"}, "network: unknown network 'edvr'; expected vsr_transformer, basicvsr"),
        (
            {"network": "vsr_transformer"},
            "ablations/other.yaml: network: vsr_transformer is the full model's",
        ),
        ({"network": "none.py:Mine"}, r"there is no .*none\.py; correct the path"),
        ({"network": "basicvsr", "changes": {"model": {"depth": 3}}}, "ablations/other.yaml: .*'depth'"),
        (
            {"network": "basicvsr", "changes": {"training": {"rate": 3}}},
            "changes.training.rate: full.yaml has no",
        ),
        (
            {"network": "basicvsr", "changes": {"model": {"num_feat": 0}}},
            "model.num_feat: expected an integer",
        ),
        ({}, "is not valid under any of the given schemas"),
    ],
)
def test_faults_of_another_network(ablations, content, message):
    ablations("other", **content)
    with pytest.raises(InputError, match=message) as error:
        config.resolve_variant(STUDY, "other")
    assert "\n" not in str(error.value)
