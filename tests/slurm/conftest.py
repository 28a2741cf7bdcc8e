"""A real Slurm cluster on this machine, where the script that starts one lies beside the repository."""

import os
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
from cluster_study import ClusterStudy, shrink_jobs
from workflow_copy import ROOT, Workflow, copy_of_the_workflow

SCRIPT = ROOT.parent / "shared" / "slurm" / "cluster.sh"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def cluster() -> Path:
    """The script of a running cluster; one that the tests started is taken down after them."""
    if not SCRIPT.is_file():
        pytest.skip(f"no Slurm cluster can be started here: {SCRIPT} is missing")
    if os.geteuid() != 0:
        pytest.skip("a Slurm cluster is started by root only")
    was_up = subprocess.run([SCRIPT, "status"], capture_output=True).returncode == 0
    up = subprocess.run([SCRIPT, "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert up.returncode == 0, up.stdout
    yield SCRIPT
    if not was_up:
        subprocess.run([SCRIPT, "down"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def prepared(cluster, tmp_path_factory) -> Workflow:
    """The tiny study up to its training, with jobs that fit a machine of two cores."""
    workflow = copy_of_the_workflow(tmp_path_factory.mktemp("prepared"))
    workflow.study |= {"variants": ["full"], "seeds": [1]}
    workflow.study["overrides"]["training"] |= {
        "iterations": 600,
        "checkpoint_interval": 25,
        "validation_interval": 600,
        "log_interval": 25,
    }
    shrink_jobs(workflow)
    made = ("configs/full.yaml", "flow/weights.safetensors", "evaluations/photo_motion/gate.json")
    done = workflow.snakemake(*(f"results/tiny/{path}" for path in made), "--quiet", "rules")
    assert done.returncode == 0, done.stdout
    return workflow


@pytest.fixture
def study(prepared, tmp_path) -> ClusterStudy:
    """A copy of the prepared study; what a test leaves running is ended."""
    folder = tmp_path / "study"
    shutil.copytree(prepared.folder, folder, symlinks=True)
    study = ClusterStudy(Workflow(folder, deepcopy(prepared.study)))
    yield study
    study.leave()
