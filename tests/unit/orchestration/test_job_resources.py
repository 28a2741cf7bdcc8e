"""What jobs ask a cluster for: enough for the largest network, little for small ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from models import build_model
from models.config import BasicVSRConfig, ModelConfig, NetworkConfig
from models.own_config import OwnConfig
from vsrbench.orchestration.job_resources import UNKNOWN_MB, inference_mb, training_mb

ABLATIONS = Path(__file__).parents[3] / "ablations"
NETWORKS: dict[str, NetworkConfig] = {"full": ModelConfig(), "basicvsr": BasicVSRConfig()}
for path in ABLATIONS.glob("*.yaml"):
    if "changes" in (ablation := yaml.safe_load(path.read_text())):
        NETWORKS[path.stem] = replace(ModelConfig(), **ablation["changes"].get("model", {}))


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_counted_without_the_network(name):
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in build_model(NETWORKS[name]).parameters())
    assert NETWORKS[name].parameters == pytest.approx(built, rel=0.01 if name.endswith("_matched") else 0)


def test_memory_follows_the_size_of_the_network():
    full, fcsa = NETWORKS["full"], NETWORKS["fcsa"]
    assert training_mb(full) == 6000 + 16 * 32_564_335 // 10**6
    # Five blocks of 4 x 4,096 x 4,096 weights, in place of two depthwise and two dense convolutions each.
    larger = 5 * (4 * 4096**2 - 2 * 64 * 10 - 2 * 64 * (9 * 64 + 1))
    assert training_mb(fcsa) - training_mb(full) == pytest.approx(16 * larger / 10**6, abs=1)
    assert inference_mb(fcsa) - inference_mb(full) == pytest.approx(8 * larger / 10**6, abs=1)


def test_a_network_of_unknown_size_gets_much(tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    own = OwnConfig(network=f"{tmp_path}/mine.py:Mine")
    assert training_mb(own) == inference_mb(own) == UNKNOWN_MB > training_mb(NETWORKS["fcsa_token_wise"])
