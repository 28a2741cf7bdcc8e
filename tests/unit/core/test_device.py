"""What a person may call a device, and what is said of one that is not there."""

import warnings

import pytest
import torch

from vsrbench.__main__ import main
from vsrbench.benchmarks import network
from vsrbench.core.device import choose_device, deterministic
from vsrbench.core.errors import InputError
from vsrbench.evaluation import evaluate


@pytest.fixture
def gpus(monkeypatch):
    """A machine of two GPUs, as far as choosing goes; the list fills with those chosen."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize(("name", "chosen"), [(None, "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_each_process_of_a_machine_gets_a_gpu_of_its_own(gpus, monkeypatch, name, chosen):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(name) == torch.device(chosen) == gpus[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cuda:2", "device cuda:2: GPU 2 is not among the 2 that are visible; start fewer processes"),
        ("gpu", "unknown device 'gpu'; expected cpu, cuda or cuda:<number>"),
        ("cuda:", "unknown device 'cuda:'"),
        ("cuda:first", "unknown device 'cuda:first'"),
        ("mps", "unknown device 'mps'"),
    ],
)
def test_no_other_name_and_no_missing_gpu(gpus, name, reason):
    with pytest.raises(InputError, match=reason):
        choose_device(name)


def test_cpu_is_the_default_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")


def test_what_is_not_deterministic_is_collected_in_torchs_words_and_attention_is(recwarn):
    """No GPU is needed: the warnings are made up, and what attention may choose from is a setting."""
    fused = (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.mem_efficient_sdp_enabled)
    before = [enabled() for enabled in fused]
    names = set()
    with deterministic(torch.device("cuda"), names):
        for said in (
            "grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set",
            "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly enable",
            "something else",
        ):
            warnings.warn(said, stacklevel=1)
        assert torch.are_deterministic_algorithms_enabled()
        assert not any(enabled() for enabled in fused)
    assert names == {"grid_sampler_2d_backward_cuda", "Memory Efficient attention"}
    assert [str(warning.message) for warning in recwarn] == ["something else"]
    assert not torch.are_deterministic_algorithms_enabled()
    assert [enabled() for enabled in fused] == before


@pytest.fixture
def tf32(monkeypatch):
    """Whether convolutions may round to TF32, as they may where nobody has set it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    return lambda: torch.backends.cudnn.allow_tf32


def test_commands_keep_float32(tf32, monkeypatch):
    seen = []
    monkeypatch.setattr(evaluate, "evaluate", lambda **_: seen.append(tf32()))
    arguments = {"study": "s", "variant": "full", "seed": 1, "manifest": "m", "rows": "r", "frames": "f"}
    assert main(["evaluate", *(f"--{name}={value}" for name, value in arguments.items())]) == 0
    assert seen == [False]


def test_benchmarks_keep_float32(tf32):
    network._begin(lambda: iter([tf32()]), retain_freed=False)
    assert not next(network._calls)
