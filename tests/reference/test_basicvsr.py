"""BasicVSR against what the released code computes (BasicSR, commit 8d56e3a), and released checkpoints."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.basicvsr import BasicVSR
from models.basicvsr_checkpoints import basicsr_name, is_basicvsr, load_basicvsr
from models.config import BasicVSRConfig

HERE = Path(__file__).parent
COMPLETE = HERE.parents[2] / "shared" / "reference" / "basicvsr"
RECORDED = json.loads((HERE / "basicvsr.json").read_text())
CASES = {("here", case["case"]): case for case in RECORDED["cases"]} | {
    ("complete", name): None for name in ("small", "odd")
}


def released_name(name: str) -> str:
    """Our name of a tensor in BasicSR, which counts the activations between SPyNet's convolutions as well."""
    name = basicsr_name(name)
    return re.sub(
        r"(basic_module\.\d)\.basic_module\.(\d)\.conv\.",
        lambda m: f"{m[1]}.basic_module.{2 * int(m[2])}.",
        name,
    )


def mmagic_name(name: str) -> str:
    """Our name of a tensor in MMagic."""
    name = re.sub(r"^(backward|forward)_trunk\.", r"\1_resblocks.", basicsr_name(name))
    return "generator." + re.sub(r"^upconv(\d)\.", r"upsample\1.upsample_conv.", name)


def drawn_weights(model: BasicVSR, seed: int) -> dict[str, torch.Tensor]:
    """The weights of the recording, which are drawn by the order of the released names."""
    random = np.random.RandomState(seed)
    own = {released_name(name): name for name in model.state_dict()}
    drawn = {}
    for name in sorted(own):
        if name in ("spynet.mean", "spynet.std"):
            continue
        shape = model.state_dict()[own[name]].shape
        values = random.standard_normal(shape)
        gain = 0.8 if name.startswith("spynet") else 1.0
        values *= gain / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.01
        drawn[own[name]] = torch.from_numpy(values.astype(np.float32))
    return drawn


class Recording:
    """One case: the network that was recorded, its input, and what the released code gave."""

    def __init__(self, arrays: Path, case: dict):
        self.case, self._arrays = case, np.load(arrays)
        self.model = BasicVSR(BasicVSRConfig(num_feat=case["num_feat"], num_blocks=case["num_block"]))
        self.model.load_state_dict(drawn_weights(self.model, case["seed"]), strict=False)
        self.clip = torch.from_numpy(self._arrays[f"{case['case']}/lq_u8"]).float() / 255

    def distance(self, actual: torch.Tensor, name: str) -> float:
        """The largest difference; of what was recorded, rows and columns at a regular distance are kept."""
        expected = torch.from_numpy(self._arrays[f"{self.case['case']}/{name}"])
        kept = -(-actual.shape[-1] // expected.shape[-1])
        actual = actual[..., ::kept, ::kept]
        assert actual.shape == expected.shape
        return (actual - expected).abs().max().item()


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def recording(request) -> Recording:
    where, name = request.param
    if where == "here":
        return Recording(HERE / "basicvsr.npz", CASES[request.param])
    if not COMPLETE.is_dir():
        pytest.skip(f"the uncut recording of BasicVSR is not at hand ({COMPLETE.name})")
    (case,) = (c for c in json.loads((COMPLETE / "golden_basicvsr.json").read_text()) if c["case"] == name)
    return Recording(COMPLETE / "golden_basicvsr.npz", case)


def test_output(recording):
    with torch.no_grad():
        restored = recording.model(recording.clip)
    assert recording.distance(restored, "out") <= 1e-5
    assert recording.distance(restored[0, restored.shape[1] // 2], "out_middle") <= 1e-5


def test_output_frame_by_frame(recording):
    """The way in which long clips are restored."""
    frames = recording.clip.unbind(1)
    with torch.no_grad():
        restored = torch.stack(list(recording.model.restore(frames.__getitem__, len(frames))), dim=1)
    assert recording.distance(restored, "out") <= 1e-5


def test_flows(recording):
    with torch.no_grad():
        forward, backward = recording.model.flows(recording.clip)
    assert recording.distance(forward, "flows_forward") <= 1e-5
    assert recording.distance(backward, "flows_backward") <= 1e-5


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_gradients(recording, activation_checkpointing):
    model = recording.model
    model.activation_checkpointing = activation_checkpointing
    model.zero_grad()
    model(recording.clip).sum().backward()
    norms = {released_name(name): value.grad.norm().item() for name, value in model.named_parameters()}
    for name, expected in recording.case["grad_norms"].items():
        assert norms[name] == pytest.approx(expected, rel=1e-3), name


def test_parameters(recording):
    counted = sum(parameter.numel() for parameter in recording.model.parameters())
    assert counted == recording.case["parameters"]


def published() -> BasicVSR:
    with torch.device("meta"):
        return BasicVSR(BasicVSRConfig())


def test_published_network_has_the_recorded_names_and_shapes():
    model = published()
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_291_311
    lines = sorted(
        f"{released_name(name)} {list(tensor.shape)}" for name, tensor in model.state_dict().items()
    )
    assert len(lines) == RECORDED["entries"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == RECORDED["names_and_shapes_sha256"]


@pytest.mark.parametrize("name_of", [released_name, mmagic_name])
def test_checkpoints_of_both_families_give_the_same_network(tmp_path, name_of):
    torch.manual_seed(0)
    model = BasicVSR(BasicVSRConfig(num_feat=8, num_blocks=2, flow_num_feat=8))
    tensors = {name_of(name): tensor for name, tensor in model.state_dict().items()}
    wrapped = (
        {"params": tensors} if name_of is released_name else {"state_dict": tensors, "meta": {"epoch": 1}}
    )
    if name_of is mmagic_name:
        tensors |= {"step_counter": torch.zeros(1), "data_preprocessor.mean": torch.zeros(3)}
    torch.save(wrapped, tmp_path / "net.pth")
    loaded = load_basicvsr(tmp_path / "net.pth")
    assert is_basicvsr(tensors) and loaded.config == model.config and not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv_hr.bias"), "conv_hr.bias is missing"),
        (lambda t: t.update(conv_other=torch.zeros(1)), "conv_other is unknown"),
        (
            lambda t: t.update({"fusion.bias": torch.zeros(9)}),
            r"fusion.bias: expected shape \(8,\), got \(9,\)",
        ),
        (lambda t: t.pop("fusion.weight"), "has no fusion.weight"),
    ],
)
def test_faults_of_a_checkpoint_are_named(change, message):
    model = BasicVSR(BasicVSRConfig(num_feat=8, num_blocks=1, flow_num_feat=8))
    tensors = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    change(tensors)
    with pytest.raises(ValueError, match=message) as error:
        load_basicvsr(tensors)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [dict(num_feat=0), dict(num_blocks=-1), dict(flow_num_feat=6), dict(num_feat=1.5)]
)
def test_sizes_that_no_network_has(options):
    with pytest.raises(ValueError, match=f"model.{next(iter(options))}: expected"):
        BasicVSRConfig(**options)


def test_a_clip_of_one_frame():
    model = BasicVSR(BasicVSRConfig(num_feat=8, num_blocks=1, flow_num_feat=8))
    assert model(torch.rand(2, 1, 3, 32, 36)).shape == (2, 1, 3, 128, 144)
