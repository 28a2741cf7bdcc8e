"""Signs of other work on the machine, on made-up timings, and the clocks that they are read from."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch

from vsrbench.evaluation.disturbance import ProcessorUse, count_other_processes, why_disturbed

QUIET = [1.0, 1.02, 0.99, 1.01, 1.0, 1.03]
WALL = sum(QUIET)


def use(computing: float = 0.99, queued: float = 0.01) -> ProcessorUse:
    """Shares of the wall time."""
    return ProcessorUse(WALL, computing * WALL, {"1": 0.0, "2": queued * WALL})


def test_quiet_timings_are_not_marked():
    assert why_disturbed(QUIET, use(), on_cpu=True) is None
    assert why_disturbed(QUIET, use(computing=7.6), on_cpu=True) is None  # eight threads


@pytest.mark.parametrize(
    "seconds, used, others, reason",
    [
        ([1.0, 1.0, 1.6, 1.6], use(), 0, "repeats scatter by 46% of their median"),
        (QUIET, use(computing=0.45), 0, "did not compute for 55% of the time"),
        (QUIET, use(computing=1.1, queued=0.5), 0, "waited for a core for 50% of the time"),
        (QUIET, use(), 2, "other processes on the GPU: 2"),
        (
            QUIET,
            use(computing=0.5, queued=0.5),
            0,
            "did not compute for 50% of the time; waited for a core for 50% of the time",
        ),
    ],
)
def test_each_sign_is_named(seconds, used, others, reason):
    assert why_disturbed(seconds, used, on_cpu=True, other_processes=others) == reason


def test_host_may_sleep_while_a_gpu_computes():
    assert why_disturbed(QUIET, use(computing=0.1), on_cpu=False) is None


def test_clocks_tell_computing_from_sleeping():
    before = ProcessorUse.now()
    time.sleep(0.2)
    slept = ProcessorUse.now().since(before)
    assert slept.wall >= 0.2 and slept.computing < 0.1
    before = ProcessorUse.now()
    while time.process_time() - before.computing < 0.1:
        pass
    assert ProcessorUse.now().since(before).computing >= 0.1


@pytest.mark.parametrize("pids, others", [([], 0), ([17], 0), ([17, 18, 19], 2)])
def test_processes_on_a_gpu_are_counted_but_for_this_one(monkeypatch, pids, others):
    nvml = ModuleType("pynvml")
    nvml.NVMLError = OSError
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    nvml.nvmlDeviceGetComputeRunningProcesses = lambda _: [SimpleNamespace(pid=pid) for pid in pids]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="u"))
    assert count_other_processes(torch.device("cuda")) == others
    assert count_other_processes(torch.device("cpu")) == 0
