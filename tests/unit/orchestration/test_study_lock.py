"""A study is held by one process at a time, and by none that was killed."""

import subprocess
import sys

import pytest

from vsrbench.core.errors import InputError
from vsrbench.orchestration import study_lock
from vsrbench.orchestration.study_lock import hold_study

HOLDER = """
import sys
from pathlib import Path
from vsrbench.orchestration.study_lock import hold_study
hold_study(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the study in tmp_path / "demo"."""
    command = [sys.executable, "-c", HOLDER, tmp_path / "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_another_start_is_refused_until_the_first_is_gone(tmp_path, holder):
    with pytest.raises(InputError, match=r"demo/\.lock: held by another run .* wait for it, or end it"):
        hold_study(tmp_path / "demo")
    hold_study(tmp_path / "other")
    holder.kill()
    holder.wait()
    hold_study(tmp_path / "demo")


def test_what_make_holds_already_is_not_asked_for_again(tmp_path, holder, monkeypatch):
    monkeypatch.setenv(study_lock.HELD, "held")
    hold_study(tmp_path / "demo")


def test_a_file_system_without_locks_stops_no_study(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(study_lock.fcntl, "flock", no_locks)
    hold_study(tmp_path / "demo")
