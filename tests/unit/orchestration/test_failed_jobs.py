"""The summary of failed jobs at the end of a run's output."""

import pytest

from vsrbench.orchestration.failed_jobs import log_tail

LOG = """\
Error in rule train:
    message: SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable
    jobid: 3
    log: logs/full.log, {folder}/slurm/7.log (check log file(s) for error details)
    external_jobid: 7
Error in rule evaluate:
    message: None
    jobid: 4
    log: logs/bicubic.log (check log file(s) for error details)
{more}"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "slurm").mkdir()
    path = tmp_path / "snakemake.log"

    def write(more: str = ""):
        path.write_text(LOG.format(folder=tmp_path, more=more))
        return path

    return write


def test_each_failure_names_its_logs_and_ends_with_their_last_lines(log, tmp_path):
    (tmp_path / "logs/full.log").write_text("")
    (tmp_path / "slurm/7.log").write_text(
        "start\n" + "\r".join(f"{i} steps" for i in range(9)) + "\n\nkilled\n"
    )
    assert log_tail(log()).splitlines() == [
        "train failed, Slurm status TIMEOUT:",
        "  logs/full.log",
        "  slurm/7.log",
        *[f"    {i} steps" for i in (5, 6, 7, 8)],
        "    killed",
        "evaluate failed:",
        "  logs/bicubic.log",
    ]


def test_failures_that_the_log_does_not_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snakemake.log").write_text(
        "WorkflowError:\nAt least one job did not complete successfully.\n"
    )
    (tmp_path / "full.log").write_text("vsrbench: it is so\n")
    words = log_tail(tmp_path / "snakemake.log", [("train", ["full.log", "other.log"])])
    assert words.splitlines() == ["train failed:", "  full.log", "    vsrbench: it is so", "  other.log"]


def test_failure_that_a_retry_made_good_is_left_out(log):
    words = log_tail(log("Finished jobid: 3 (Rule: train)\n"))
    assert words.splitlines() == ["evaluate failed:", "  logs/bicubic.log"]
    assert log_tail(log("Finished jobid: 3 (Rule: train)\nFinished jobid: 4 (Rule: evaluate)\n")) == ""
