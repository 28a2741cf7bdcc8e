"""Runs never share a GPU, however they end. The machine's GPUs are made up: an nvidia-smi that lists them."""

import os
import subprocess
import sys

import pytest
from stand_in import stand_in

from vsrbench.core.errors import InputError
from vsrbench.core.gpu_lease import lease_gpu, visible_gpus

HOLDER = """
import os, sys
from pathlib import Path
from vsrbench.core.gpu_lease import lease_gpu
with lease_gpu(Path(sys.argv[1])) as gpu:
    print(gpu, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def two_gpus(tmp_path, monkeypatch):
    program = stand_in(tmp_path / "bin", "nvidia-smi", "printf '0, GPU-a\\n1, GPU-b\\n'")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def holder(tmp_path):
    """Start a process that takes a lease; its first line of output says which."""
    processes = []

    def start(**environment):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "leases")],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_runs_take_different_gpus_and_the_next_waits_for_a_killed_one(holder):
    first, second = holder(), holder()
    lines = {process: process.stdout.readline().split() for process in (first, second)}
    assert sorted(lines.values()) == [["GPU-a", "GPU-a"], ["GPU-b", "GPU-b"]]
    third = holder()
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(2)
    first.kill()
    assert third.stdout.readline().split() == lines[first]


def test_only_visible_gpus_are_taken(holder, monkeypatch):
    assert holder(CUDA_VISIBLE_DEVICES="1").stdout.readline() == "GPU-b GPU-b\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-c")
    assert visible_gpus() == ["GPU-b", "GPU-c"]


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [("", []), ("-1", []), ("NoDevFiles", []), ("-1,0", []), ("1,7,0", ["GPU-b"]), ("MIG-c", ["MIG-c"])],
)
def test_names_of_no_gpu_hide_it_and_all_that_follow(monkeypatch, chosen, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == visible


def test_a_driver_that_finds_no_gpu_may_say_so_in_words(tmp_path):
    stand_in(tmp_path / "bin", "nvidia-smi", "echo 'No devices were found'")
    assert visible_gpus() == []


def test_the_next_user_can_read_what_a_strict_umask_made(tmp_path):
    before = os.umask(0o077)
    try:
        with lease_gpu(tmp_path / "leases") as gpu:
            pass
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o7777 for path in (tmp_path / "leases", tmp_path / "leases" / gpu)]
    assert modes == [0o1777, 0o644]


def test_process_of_torchrun_takes_its_own_or_says_that_it_is_taken(holder, tmp_path, monkeypatch):
    assert holder(LOCAL_RANK="1").stdout.readline() == "GPU-b None\n"
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="GPU-b: GPU in use by another run"), lease_gpu(tmp_path / "leases"):
        pass


def test_machine_without_gpu_needs_no_lease(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with lease_gpu(tmp_path / "leases") as gpu:
        assert gpu is None
    assert not (tmp_path / "leases").exists()
