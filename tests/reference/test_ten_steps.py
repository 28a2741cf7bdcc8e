"""Ten seeded steps of every shipped variant, compared with stored numbers.

Weights are not compared: where a gradient is nearly zero, Adam follows its rounding. Without oneDNN, or
without the processor's vector instructions, losses move by at most 7e-7 of their value and PSNR by 3e-6.

`python tests/reference/test_ten_steps.py` stores them again, after a change that is meant to move them.
"""

import json
import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny_training import TRAINING, write_stores

from models.optical_flow import SPyNet
from vsrbench.core.config import resolve_variant, variant_names
from vsrbench.training.train_vsr import train

STORED = Path(__file__).with_name("ten_steps.json")
NAMES = variant_names()
STEPS = 10
WINDOWS = {"seven_frames": 7}  # frames of a clip, if not 5
STUDY = {
    "study": "ten_steps",
    "train_on": "photo_motion",
    "degradation": "BI",
    "networks": {"basicvsr": {"num_feat": 4, "num_blocks": 1}},
    "overrides": {
        "model": {
            "num_feat": 4,
            "feat_size": 16,
            "depth": 1,
            "patch_size": 4,
            "num_extract_blocks": 1,
            "num_reconstruct_blocks": 1,
            "num_feed_forward_blocks": 1,
            "flow_num_feat": 4,
        },
        "training": TRAINING
        | {
            "iterations": STEPS,
            "log_interval": 1,
            "validation_interval": STEPS,
            "checkpoint_interval": STEPS,
        },
    },
}


def ten_steps(name: str, inputs: dict[int, dict], folder: Path) -> dict[str, list[float]]:
    """Loss of each step, and PSNR on the validation clip after the last."""
    study = deepcopy(STUDY)
    if name == "patch_4":  # not the full model's own size
        study["overrides"]["model"]["patch_size"] = 8
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(resolve_variant(study, name).to_dict(), sort_keys=False))
    out = folder / name / "weights.safetensors"
    train(**inputs[WINDOWS.get(name, 5)], config=config, seed=1, out=out, device="cpu")
    log = [json.loads(line) for line in out.with_name("train.jsonl").read_text().splitlines()]
    return {
        "loss": [line["loss"] for line in log],
        "validation_psnr_rgb": [log[-1]["validation_psnr_rgb"]],
    }


def write_inputs(folder: Path) -> dict[int, dict]:
    """What trainings start from, by the number of frames that a clip has."""
    torch.manual_seed(0)
    save_file(SPyNet(4).state_dict(), folder / "flow.safetensors")
    return {
        frames: write_stores(folder / str(frames), num_frames=frames)
        | {"flow_weights": folder / "flow.safetensors"}
        for frames in (5, *WINDOWS.values())
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[int, dict]:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("name", NAMES)
def test_ten_steps(inputs, tmp_path, name):
    stored = json.loads(STORED.read_text())[name]
    found = ten_steps(name, inputs, tmp_path)
    rounding = 1e-3 if name == "bfloat16" else 1e-5  # each kind of processor sums bfloat16 in its own order
    for key, values in stored.items():
        assert found[key] == pytest.approx(values, rel=rounding), key


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        inputs = write_inputs(Path(temporary))
        numbers = {name: ten_steps(name, inputs, Path(temporary)) for name in NAMES}
    Path(sys.argv[1] if len(sys.argv) > 1 else STORED).write_text(json.dumps(numbers, indent=1) + "\n")
