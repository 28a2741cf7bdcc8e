"""The whole tiny study through `snakemake --profile slurm`, on a cluster that hands out GPUs as GRES."""

import json

from cluster_study import PROFILE, ClusterStudy, shrink_jobs, slurm, wait_until
from workflow_copy import copy_of_the_workflow


def test_whole_study_runs_and_its_gpus_are_in_the_accounting(cluster, tmp_path):
    study = ClusterStudy(copy_of_the_workflow(tmp_path))
    study.workflow.study["seeds"] = [1]
    study.workflow.edit(PROFILE, "gpus_by: gpu ", "gpus_by: gres ")
    study.workflow.edit(PROFILE, "gpus_per_training: 1 ", "gpus_per_training: 2 ")
    shrink_jobs(study.workflow)
    try:
        text = study.start("--retries", "0").end()
    finally:
        study.leave()

    assert "Tables, figures and report.html: " in text
    assert "localrule sync:" in text  # nodes often have no network
    table = (tmp_path / "results/tiny/tables/ablations.csv").read_text()
    assert all(f",{variant}," in table for variant in study.workflow.study["variants"])
    provenance = json.loads((study.folder / study.run / "provenance.json").read_text())
    assert provenance["machines"][0]["processes"] == 2

    run_id = text.partition("SLURM run ID: ")[2].split()[0]
    rows = wait_until(lambda: accounted(run_id), "the accounting to see all jobs end")
    gpus = [
        next((int(part.split("=")[1]) for part in tres.split(",") if part.startswith("gres/gpu:h200=")), 0)
        for tres, _ in rows
    ]
    trainings = len(study.workflow.study["variants"])
    assert gpus.count(2) == trainings
    assert gpus.count(1) > trainings  # flow, scores and timings
    assert gpus.count(0) >= 2  # the data


def accounted(run_id: str) -> list[list[str]]:
    """Resources and state of each job of a run of Snakemake, once all have completed."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--starttime=now-2hours"]
    rows = [
        row.split("|") for row in slurm(*command, f"--name={run_id}", "--format=AllocTRES,State").splitlines()
    ]
    return rows if all(state == "COMPLETED" for _, state in rows) else []
