"""Run Snakemake on a copy of the workflow that a test may edit."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Workflow:
    """A copy of the repository's code in a folder of its own, and how to run it."""

    folder: Path
    study: dict

    def command(self, *arguments: str) -> list[str]:
        """The command line for the study, which is written down as it is now."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.study))
        return [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which the copy goes before the installed code."""
        paths = os.pathsep.join([str(self.folder), str(self.folder / "workflow")])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VSRBENCH_")}
        return inherited | {"PYTHONPATH": paths} | more

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run `snakemake` on two cores; stdout and stderr come back as one text in stdout."""
        return subprocess.run(
            self.command("--cores", "2", *arguments),
            cwd=self.folder,
            env=self.environment(SLURM_CONF="/dev/null", **environment),  # no wait for a cluster that is down
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
    """The code that a study runs, and the tiny study."""
    shutil.copy(ROOT / "Snakefile", folder)
    for entry in ("workflow", "models", "ablations"):
        shutil.copytree(ROOT / entry, folder / entry, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "slurm").symlink_to(os.readlink(ROOT / "slurm"))
    study = yaml.safe_load((ROOT / "tests" / "workflow" / "tiny.yaml").read_text())
    return Workflow(folder, study)
