"""Jobs that the cluster can never run, or a missing cluster, are reported before any job is submitted."""

from pathlib import Path

import pytest
from cluster_study import PROFILE


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("gpu_partition: gpu ", "gpu_partition: gpux ", "available partitions: cpu, gpu, gpulow"),
        ("gpu_type: h200", "gpu_type: a100", "gpu:h200:4; time limit 7-00:00:00"),
        ("runtime: 30 ", "runtime: 20000 ", "Requested time limit is invalid"),
        ("account: lab ", "account: other ", "unknown account 'other' of"),
    ],
)
def test_one_line_before_the_first_job(study, old, new, expected):
    study.workflow.edit(PROFILE, old, new)
    text = study.start("results/tiny/tables/ablations.csv").end(status=1)
    lines = [line for line in text.splitlines() if expected in line]
    assert len(lines) == 1 and PROFILE in lines[0], text
    assert "Traceback" not in text
    assert "has been submitted" not in text


def test_machine_without_slurm_is_told_so(prepared, tmp_path):
    for program in Path("/usr/bin").iterdir():
        if program.name not in (
            "sbatch",
            "sacctmgr",
            "sacct",
            "squeue",
            "sinfo",
            "scontrol",
            "srun",
            "scancel",
        ):
            (tmp_path / program.name).symlink_to(program)
    done = prepared.snakemake("--profile", "slurm", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "sacctmgr not found; run on a machine of the cluster, or without --profile" in done.stdout
    assert "Traceback" not in done.stdout
