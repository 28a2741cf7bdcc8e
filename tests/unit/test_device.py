"""What a person may call a device, and what is said of one that is not there."""

import pytest
import torch

from vsrbench.device import choose_device
from vsrbench.errors import InputError


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
        ("cuda:2", "device cuda:2: 2 GPUs are visible, none is number 2; start fewer processes"),
        ("gpu", "device gpu: is neither cpu, cuda nor cuda:<number>"),
        ("cuda:", "device cuda:: is neither"),
        ("cuda:first", "device cuda:first: is neither"),
        ("mps", "device mps: is neither"),
    ],
)
def test_no_other_name_and_no_missing_gpu(gpus, name, reason):
    with pytest.raises(InputError, match=reason):
        choose_device(name)


def test_cpu_is_the_default_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
