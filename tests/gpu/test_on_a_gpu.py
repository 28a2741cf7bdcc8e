"""What only a GPU can show: the CPU's numbers, the same bits after a kill, no waiting, enough memory."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_training import survive
from safetensors.torch import save_file
from small_network import small_network
from tiny_training import MODEL, write_stores, write_variant

from models import ModelConfig, build_model
from models.optical_flow import SPyNet, warp
from vsrbench.core.device import computing_in, deterministic
from vsrbench.evaluation.inference import RestoreOptions, restore_clip
from vsrbench.evaluation.runtime import measure
from vsrbench.training import trainer
from vsrbench.training.train_vsr import train

pytestmark = pytest.mark.gpu

VARIANTS = {
    "full": {},
    "fcsa": {"attention": "fcsa"},
    "no_attention": {"attention": "none"},
    "token_wise_ffn": {"feed_forward": "token_wise"},
    "unaligned_ffn": {"feed_forward": "unaligned"},
    "channel_norm": {"norm": "channel"},
}
ALIGNED = MODEL | {"feed_forward": "flow_aligned", "num_feat": 8}


@pytest.fixture(autouse=True)
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    save_file(SPyNet(4).state_dict(), folder / "flow.safetensors")
    return write_stores(folder, size=40) | {"flow_weights": folder / "flow.safetensors", "seed": 1}


@pytest.fixture
def run(inputs, tmp_path):
    """Train a tiny variant on a device; the path of its weights."""

    def train_tiny(name: str, device: str = "cuda", model: dict | None = None, **training) -> Path:
        out = tmp_path / name / "weights.safetensors"
        config = write_variant(tmp_path / f"{name}.yaml", ALIGNED | (model or {}), training)
        train(**inputs, config=config, out=out, device=device)
        return out

    return train_tiny


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.with_name("train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_restores_as_the_cpu_does(variant):
    torch.manual_seed(0)
    model = build_model(ModelConfig(**ALIGNED | VARIANTS[variant])).eval()
    clip = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), dtype=np.uint8)
    expected = torch.stack(list(restore_clip(model, clip)))
    found = torch.stack(list(restore_clip(model, clip, device="cuda"))).cpu()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_precisions_differ_as_their_mantissas_do():
    """Relative errors of a product of 1,024 terms: float32 has 24 bits, TF32 11 and bfloat16 8."""
    torch.manual_seed(0)
    one, other = torch.rand(256, 1024, device="cuda") - 0.5, torch.rand(1024, 256, device="cuda") - 0.5
    exact = one.double() @ other.double()
    errors = {}
    for precision in ("float32", "tf32", "bfloat16"):
        with computing_in(precision, one.device):
            errors[precision] = ((one @ other).double() - exact).abs().max().item()
    assert errors["float32"] < 1e-5 < errors["tf32"] < 1e-2
    assert 3 < errors["bfloat16"] / errors["tf32"] < 30


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_warping_in_a_fixed_order_is_warping(padding_mode):
    torch.manual_seed(0)
    x, flow = torch.rand(2, 8, 40, 48, device="cuda"), 6 * torch.randn(2, 2, 40, 48, device="cuda")
    results = []
    for ordered in (False, True, True):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, flow)]
        with deterministic(x.device, set(), ordered):
            warped = warp(*leaves, padding_mode)
            results.append([warped, *torch.autograd.grad(warped.square().sum(), leaves)])
    for plain, first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, plain, atol=2e-4, rtol=1e-4)
        assert torch.equal(first, second)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_training_ends_bit_for_bit_as_one_that_was_not(run, variant, monkeypatch):
    model = VARIANTS[variant]
    undisturbed = run("undisturbed", model=model)
    learning_rate = trainer.learning_rate

    def stop_at_4(config, iteration):
        if iteration == 4:
            signal.raise_signal(signal.SIGTERM)
        return learning_rate(config, iteration)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(trainer, "learning_rate", stop_at_4)
        run("stopped", model=model)
    assert undisturbed.read_bytes() == run("stopped", model=model).read_bytes()
    provenance = json.loads(undisturbed.with_name("provenance.json").read_text())
    assert provenance["nondeterministic_operations"] == []


def test_kills_by_sigkill_lose_nothing(tmp_path):
    assert survive(tmp_path, kills=3, seed=1)["trainings"] > 0


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_trains_as_the_cpu_does(run, precision):
    """The first losses: later ones amplify what rounding differs by."""
    expected = [line["loss"] for line in log(run("cpu", "cpu", log_interval=1))]
    found = [line["loss"] for line in log(run("gpu", precision=precision, log_interval=1))]
    assert found[:3] == pytest.approx(expected[:3], rel={"float32": 1e-4}.get(precision, 5e-3))


def test_a_compiled_network_trains_like_the_plain_one(run):
    expected = [line["loss"] for line in log(run("plain", log_interval=1))]
    found = [line["loss"] for line in log(run("compiled", compile=True, log_interval=1))]
    assert found[:3] == pytest.approx(expected[:3], rel=1e-4)


def test_steps_never_wait_for_the_gpu(run, monkeypatch):
    """After the first one, which asks for memory."""
    for name in ("_gradients", "_update"):
        monkeypatch.setattr(trainer.Trainer, name, without_waiting(getattr(trainer.Trainer, name)))
    run("watched", ema_decay=0.9, gradient_clip=1.0, deterministic=False)


def without_waiting(method):
    def call(self, *args):
        if self.iteration == 0:
            return method(self, *args)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return method(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return call


def test_halves_its_micro_batch_when_memory_runs_out(run):
    """On a real device with little memory, as another process may leave it."""
    wide = {"num_feat": 64, "num_reconstruct_blocks": 30}
    sizes = {"batch_size": 16, "iterations": 2, "log_interval": 1}
    run("roomy", model=wide, **sizes)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
    try:
        out = run("tight", model=wide, micro_batch="auto", **sizes)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert json.loads(out.with_name("provenance.json").read_text())["micro_batch"] in (4, 8)
    roomy = log(out.parents[1] / "roomy" / out.name)
    for key in ("loss", "gradient_norm"):
        assert log(out)[0][key] == pytest.approx(roomy[0][key], rel=1e-4)


def test_runtime_is_measured():
    found = measure(small_network().cuda(), 32, 32, RestoreOptions(), budget_seconds=0.2)
    assert found["peak_memory_gib"] > 0 and found["latency_ms"]["median"] > 0
