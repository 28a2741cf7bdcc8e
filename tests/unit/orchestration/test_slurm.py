"""Slurm's answers, including odd ones, from stand-in commands."""

import os
from functools import partial

import pytest
from stand_in import stand_in

from vsrbench.core.errors import InputError
from vsrbench.orchestration.slurm import check_cluster, earlier_jobs


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Let a command of Slurm do what a line of shell does."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return partial(stand_in, tmp_path / "bin")


def test_jobs_of_this_study_are_found_among_others_of_any_name(slurm, tmp_path):
    log = tmp_path / ".snakemake" / "log" / "1.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("SLURM run ID: run-1\nresults/tiny/tables/ablations.csv\n")
    slurm("squeue", r"printf '12 run-1\n3 my other job\n4 \n5 run-1 of old\n7 run-1\n'")
    assert earlier_jobs("tiny") == ["7", "12"]


def test_a_refusal_without_a_word_is_one_line(slurm):
    slurm("sacctmgr", "true")
    slurm("sinfo", "echo '4 CPUs, 8000 MB, (null)'")
    slurm("sbatch", "exit 3")
    with pytest.raises(InputError, match="rejects jobs of rule train: sbatch exited with status 3") as error:
        check_cluster([("train", 1, {"slurm_partition": "cpu"})])
    assert "\n" not in str(error.value)
