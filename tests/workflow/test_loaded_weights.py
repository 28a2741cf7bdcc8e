"""A study in which one network is loaded from a checkpoint and another is trained."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from models import build_model
from models.config import ModelConfig


def test_a_loaded_network_is_tabled_beside_a_trained_one(workflow):
    checkpoint = workflow.folder / "elsewhere.safetensors"
    workflow.study |= {
        "variants": ["full", "fcsa"],
        "seeds": [1, 2, 3],
        "evaluate_on": {"photo_motion": "required"},
        "weights": {"full": str(checkpoint)},
    }
    workflow.study["evaluation"]["metrics"].remove("lpips_alex")
    result = workflow.snakemake()
    assert result.returncode != 0
    said = (
        f"weights.full: {checkpoint} does not exist; get it (https://github.com/caojiezhang/VSR-Transformer"
    )
    assert [line for line in result.stdout.splitlines() if said in line]

    torch.manual_seed(0)
    network = build_model(ModelConfig(**workflow.study["overrides"]["model"]))
    save_file(network.state_dict(), checkpoint)
    result = workflow.snakemake()
    assert result.returncode == 0, result.stdout
    results = workflow.folder / "results/tiny"
    assert [path.name for path in (results / "runs/full").iterdir()] == ["seed_0"]
    assert not (results / "runs/full/seed_0/train.jsonl").exists()
    assert json.loads((results / "runs/full/seed_0/provenance.json").read_text())["source"] == checkpoint.name
    table = pd.read_csv(results / "tables/ablations.csv", keep_default_na=False).set_index("variant")
    assert table.loc["full", "runs"] == "runs/full/seed_0" and table.loc["full", "trained_on"] == ""
    assert table.loc["fcsa", "trained_on"] == "BI"
    tidy = pd.read_csv(results / "tables/ablations_tidy.csv").set_index(["variant", "metric"])
    difference = tidy.loc[("fcsa", "psnr_rgb")]
    assert difference["low"] < difference["difference"] < difference["high"]
    expected = tidy.loc[("fcsa", "psnr_rgb"), "mean"] - tidy.loc[("full", "psnr_rgb"), "mean"]
    assert difference["difference"] == pytest.approx(expected, abs=1e-4)
    text = (results / "tables/ablations.txt").read_text()
    assert "Loaded from a checkpoint, not trained here: full from elsewhere.safetensors (sha256 " in text
    assert "Only 1 of 3 seeds" not in text and "Mixed training" not in text
    assert "Nothing to be done" in workflow.snakemake().stdout
