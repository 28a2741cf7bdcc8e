"""What the installation says of a machine that lacks something it needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from stand_in import stand_in

TOOLS = ["sh", "dirname", "df", "du", "awk", "cut", "rm", "split", "grep", "tail"]


@pytest.fixture
def machine(tmp_path):
    """A machine with a clone, the usual tools, a roomy disk and this Python."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    stand_in(tmp_path / "bin", "python3", f'exec {sys.executable} "$@"')
    disk(tmp_path, free_mib=9000)
    script = tmp_path / "clone" / "workflow" / "install.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "workflow" / "install.sh", script)
    (tmp_path / "clone" / "requirements.lock").write_text("")
    return tmp_path


def disk(machine: Path, free_mib: int) -> None:
    stand_in(machine / "bin", "df", f"echo heading; echo device 99999 1 {free_mib} 1% /")


def install(machine: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATH": str(machine / "bin"), "PIP_NO_INDEX": "1", "PYTHON": ""}
    script = machine / "clone" / "workflow" / "install.sh"
    return subprocess.run(["sh", script], env=environment, capture_output=True, text=True)


def test_an_old_python_is_named_with_the_remedy(machine):
    stand_in(machine / "bin", "python3", '[ "$1" = --version ] && echo Python 3.10.12 || exit 1')
    result = install(machine)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "install: needs Python 3.11 or newer (Python 3.10.12 found); install one, or name it: "
        "make install PYTHON=/path/to/python"
    ]


def test_no_python_at_all_is_said_in_one_line(machine):
    (machine / "bin" / "python3").unlink()
    result = install(machine)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("install: needs Python 3.11 or newer (none found)")


def test_a_missing_venv_module_is_named_with_its_package(machine):
    split_from_python = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'  # as on Debian
    stand_in(machine / "bin", "python3", split_from_python)
    result = install(machine)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.endswith(f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv")


def test_a_full_disk_is_said_before_anything_is_written(machine):
    disk(machine, free_mib=6396)
    result = install(machine)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("install: needs 8 GB of free disk") and "6396 MB" in line
    assert not (machine / "clone" / ".venv").exists()


def test_an_installation_that_is_replaced_counts_as_free(machine):
    disk(machine, free_mib=7990)
    assert "needs 8 GB" in install(machine).stderr
    old = machine / "clone" / ".venv" / "packages"
    old.parent.mkdir()
    old.write_bytes(os.urandom(20 << 20))
    assert "needs 8 GB" not in install(machine).stderr


def test_pips_words_come_before_the_remedy(machine):
    """A package beyond the first part of the lock file: every part is installed."""
    (machine / "clone" / "requirements.lock").write_text("# comment\n" * 120 + "no-such-package==1.0\n")
    result = install(machine)
    assert result.returncode == 1
    *words, last = result.stderr.splitlines()
    assert any("no-such-package==1.0" in line for line in words)
    assert last.startswith("install: pip failed") and "run the same command again" in last
    assert not (machine / "clone" / ".venv" / "installed").exists()
