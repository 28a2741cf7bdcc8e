"""One owner of a run directory at a time, whatever happened to the one before."""

import errno
import json
import multiprocessing
import os
import platform
import signal
import time

import pytest

from vsrbench.training import run_lock
from vsrbench.training.run_lock import LockLost, lock_run

fork = multiprocessing.get_context("fork")


def hold(run, ready, seconds):
    with lock_run(run):
        ready.set()
        time.sleep(seconds)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock for a while."""
    ready = fork.Event()
    process = fork.Process(target=hold, args=(tmp_path, ready, 60))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_owner_is_named_and_released(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    with lock_run(tmp_path) as lock:
        record = json.loads((tmp_path / "lock").read_text())
        assert (record["host"], record["pid"], record["slurm_job"]) == (platform.node(), os.getpid(), "42")
        assert (record["attempt"], record["released"]) == (1, False)
        lock.check()
    assert json.loads((tmp_path / "lock").read_text())["released"]
    with lock_run(tmp_path) as lock:
        assert lock.owner.attempt == 2


def test_a_second_start_waits_and_can_give_up(tmp_path, holder, caplog):
    with lock_run(tmp_path, give_up=lambda: "in use by" in caplog.text) as lock:
        assert lock is None
    assert f"in use by process {holder.pid} on {platform.node()}" in caplog.text
    assert holder.is_alive()


def test_it_takes_over_when_the_owner_is_killed(tmp_path, holder, caplog):
    os.kill(holder.pid, signal.SIGKILL)
    with lock_run(tmp_path) as lock:
        assert lock.owner.attempt == 2
    assert "ended without releasing the lock" in caplog.text


def test_a_stopped_owner_is_not_dead(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(run_lock, "DEAD_AFTER", 0.2)
    os.kill(holder.pid, signal.SIGSTOP)
    began = time.monotonic()
    with lock_run(tmp_path, give_up=lambda: time.monotonic() > began + 0.5) as lock:
        assert lock is None


def owner_elsewhere(folder, silent_for: float):
    """A lock file as an owner on another machine leaves it, where file locks do not reach over machines."""
    owner = {"host": "elsewhere", "pid": 1, "slurm_job": "7", "attempt": 3, "token": "t", "released": False}
    (folder / "lock").write_text(json.dumps(owner))
    seen = time.time() - silent_for
    os.utime(folder / "lock", (seen, seen))


def test_an_owner_elsewhere_lives_while_it_gives_signs_of_life(tmp_path, caplog):
    owner_elsewhere(tmp_path, silent_for=10)
    with lock_run(tmp_path, give_up=lambda: "in use by" in caplog.text) as lock:
        assert lock is None
    assert "process 1 on elsewhere, Slurm job 7, attempt 3" in caplog.text


def test_an_owner_elsewhere_is_dead_after_long_silence(tmp_path):
    owner_elsewhere(tmp_path, silent_for=run_lock.DEAD_AFTER + 10)
    with lock_run(tmp_path) as lock:
        assert lock.owner.attempt == 4


def test_an_owner_that_was_declared_dead_notices(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT", 0.05)
    with lock_run(tmp_path) as lock:
        owner_elsewhere(tmp_path, silent_for=0)
        time.sleep(0.3)
        with pytest.raises(LockLost, match="elsewhere"):
            lock.check()
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


def test_an_owner_that_slept_notices_before_its_next_heartbeat(tmp_path):
    with lock_run(tmp_path) as lock:
        owner_elsewhere(tmp_path, silent_for=0)
        with pytest.raises(LockLost, match="taken over by process 1 on elsewhere"):
            lock.check()
    record = json.loads((tmp_path / "lock").read_text())
    assert (record["host"], record["released"]) == ("elsewhere", False)


def test_signs_of_life_go_on_after_errors_of_the_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "HEARTBEAT", 0.05)
    utime, errors = os.utime, iter([errno.ESTALE, errno.EIO])

    def sometimes(path):
        if error := next(errors, None):
            raise OSError(error, os.strerror(error), path)
        utime(path)

    monkeypatch.setattr(run_lock.os, "utime", sometimes)
    with lock_run(tmp_path) as lock:
        began = time.monotonic()
        utime(tmp_path / "lock", (0, 0))
        while os.stat(tmp_path / "lock").st_mtime == 0:
            assert time.monotonic() < began + 10
            time.sleep(0.05)
        lock.check()


def test_a_lock_file_may_be_unreadable_for_a_while_but_not_for_long(tmp_path, monkeypatch):
    with lock_run(tmp_path) as lock:
        (tmp_path / "lock").write_text("")
        lock.check()
        monkeypatch.setattr(run_lock, "DEAD_AFTER", 0.0)
        with pytest.raises(LockLost, match="missing or unreadable"):
            lock.check()


@pytest.mark.parametrize("content", ["", "{", '{"host": 1}'])
def test_a_torn_lock_file_does_not_stop_anyone(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    with lock_run(tmp_path) as lock:
        assert lock.owner.attempt == 1
