"""Signals are noted, and under Slurm the job goes back into the queue unless somebody cancels it."""

import os
import signal

import pytest
from stand_in import stand_in

from vsrbench.training.preemption import RESUME_LATER, StopRequest, resume_later


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.received == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands that answer as Slurm would; what they were asked stands in the file returned."""
    asked = tmp_path / "asked"
    for command in ("squeue", "scontrol"):
        stand_in(tmp_path, command, f'echo "{command} $*" >> {asked}\necho "$STATE"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    return asked


@pytest.mark.parametrize(("state", "requeued"), [("RUNNING", True), ("COMPLETING", False), ("", False)])
def test_only_a_running_job_is_requeued(slurm, monkeypatch, state, requeued):
    monkeypatch.setenv("STATE", state)
    with pytest.raises(SystemExit) as leaving:
        resume_later()
    assert leaving.value.code == RESUME_LATER == 75
    assert ("scontrol requeue 42" in slurm.read_text()) == requeued


def test_only_one_process_of_a_job_requeues_it(slurm, monkeypatch):
    monkeypatch.setenv("STATE", "RUNNING")
    with pytest.raises(SystemExit):
        resume_later(requeue=False)
    assert not slurm.exists()


def test_without_slurm_it_just_leaves(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(SystemExit) as leaving:
        resume_later()
    assert leaving.value.code == RESUME_LATER


def test_a_job_whose_slurm_is_gone_still_leaves(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    with pytest.raises(SystemExit):
        resume_later()
    assert "squeue" in caplog.text
