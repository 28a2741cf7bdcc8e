"""Run Snakemake on a copy of the workflow that a test may edit."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

ENTRIES = ("Snakefile", "workflow", "models", "ablations")


@dataclass
class Workflow:
    """A copy of the repository's code in a folder of its own, and how to run it."""

    folder: Path
    study: dict

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run `snakemake` on the study; stdout and stderr come back as one text in stdout."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.study))
        paths = [str(self.folder), str(self.folder / "workflow")]
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "study.yaml", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("VSRBENCH_")}
            | {"PYTHONPATH": os.pathsep.join(paths)}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
        )

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the first `old` in one file of the copy."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))


def copy_of_the_workflow(folder: Path) -> Workflow:
    """The code that a study runs; it goes before the installed one on Python's path."""
    for entry in ENTRIES:
        source = ROOT / entry
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / entry, ignore=ignore) if source.is_dir() else shutil.copy(source, folder)
    study = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
    return Workflow(folder, study)


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    return copy_of_the_workflow(tmp_path)
