"""Every study file plans its jobs, and every mistake in one is a single line before any job starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from stand_in import stand_in
from workflow_copy import ROOT, copy_of_the_workflow

from vsrbench.__main__ import main

CONFIG = ROOT / "workflow" / "config"
STUDIES = sorted(path for path in CONFIG.glob("*.yaml") if path.stem != "claims")  # a list of studies


def message(result) -> str:
    """The one line in which Snakemake reports a WorkflowError."""
    lines = [line.strip() for line in result.stdout.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("WorkflowError"))
    return lines[start + 1]


@pytest.mark.parametrize("name", ["demo", "alignment"])
def test_generated_study_plans_all_its_jobs(workflow, name):
    workflow.study = yaml.safe_load((ROOT / "workflow" / "config" / f"{name}.yaml").read_text())
    result = workflow.snakemake("-n")
    assert result.returncode == 0, result.stdout
    runs = len(workflow.study["variants"]) * len(workflow.study["seeds"])
    assert f"\ntrain {runs}\n" in "\n".join(" ".join(line.split()) for line in result.stdout.splitlines())


def test_positive_control_is_tuned_on_training_and_validation_clips_alone(workflow):
    path = ROOT / "workflow" / "config" / "permuted_cells.yaml"
    workflow.study = yaml.safe_load(path.read_text())
    result = workflow.snakemake("-n")
    assert result.returncode == 0, result.stdout
    jobs = "\n".join(" ".join(line.split()) for line in result.stdout.splitlines())
    variants, budgets = 3, 4
    assert f"\ntrain {variants * budgets * 5}\n" in jobs and f"\ntrain_with_rate {variants * 4 * 2}\n" in jobs
    data, folder = set(), "results/permuted_cells/"
    for rule in ("train_with_rate", "choose_learning_rate"):
        inputs = re.findall(rf"rule {rule}:\n\s+input: (.*)", result.stdout)
        assert inputs
        data |= {file.removeprefix(folder) for job in inputs for file in job.split(", ")}
    places = {path.rsplit("/", 1)[0] for path in data if not path.startswith(("tuning/", "configs/"))}
    store = "data/permuted_cells/store"
    # The gate is waited for; nothing of it is read.
    assert places == {f"{store}/train", f"{store}/validation", "fingerprints/train", "evaluations"}
    assert {path for path in data if path.startswith("evaluations")} == {"evaluations/all_gates_are_passed"}


@pytest.mark.parametrize("name", ["reds", "vimeo90k"])
def test_real_study_says_which_folder_is_missing_and_how_to_get_it(workflow, name):
    workflow.study = yaml.safe_load((ROOT / "workflow" / "config" / f"{name}.yaml").read_text())
    result = workflow.snakemake("-n", VSRBENCH_DATA="nowhere")
    assert result.returncode != 0
    assert "nowhere" in message(result)
    assert "http" in message(result)


def test_published_study_says_where_each_missing_checkpoint_is_published(workflow):
    workflow.study = yaml.safe_load((ROOT / "workflow" / "config" / "published.yaml").read_text())
    result = workflow.snakemake("-n")
    assert result.returncode != 0
    lines = sorted(line.strip() for line in result.stdout.splitlines() if "does not exist" in line)
    assert [line.split(": ")[1] for line in lines] == ["weights.basicvsr", "weights.full"]
    assert "open-mmlab/mmagic" in lines[0] and "caojiezhang/VSR-Transformer" in lines[1]


def test_default_study_is_the_paper_on_reds(workflow):
    (workflow.folder / "study.yaml").unlink(missing_ok=True)
    command = [word for word in workflow.command("-n") if word not in ("--configfile", "study.yaml")]
    (workflow.folder / "study.yaml").unlink()
    result = subprocess.run(
        command, cwd=workflow.folder, env=workflow.environment(), capture_output=True, text=True
    )
    assert "study reds: reds needs the folder data/train_sharp" in result.stdout + result.stderr


def test_study_without_a_name_is_not_taken_for_the_default(workflow):
    del workflow.study["study"]
    assert message(workflow.snakemake("-n")) == "study ?: 'study' is a required property"


def test_copied_study_file_must_be_given_its_own_name(workflow):
    """Or it would write over the other study's results."""
    workflow.command()
    copy = workflow.folder / "workflow" / "config" / "other.yaml"
    (workflow.folder / "study.yaml").rename(copy)
    result = workflow.snakemake("-n", "--configfile", str(copy))
    assert message(result) == f"{copy}: study: is tiny, not other; correct it, or rename the file"


def test_text_above_the_tables_may_hold_braces(workflow):
    workflow.study |= {"title": "Of {studies}", "note": "{a} and {b"}
    result = workflow.snakemake("-n")
    assert result.returncode == 0, result.stdout


def test_a_data_root_that_is_none_is_refused(workflow):
    assert "data_root: nowhere is not a folder" in message(workflow.snakemake("-n", VSRBENCH_DATA="nowhere"))


def test_what_failed_stands_at_the_end_however_quiet_the_run(workflow):
    (workflow.folder / "flow.pth").write_text("nothing")
    workflow.study["flow_weights"] = "flow.pth"
    result = workflow.snakemake(
        *("--config", "notify=echo Told", "--quiet", "rules", "host"),
        *("--", "results/tiny/flow/weights.safetensors"),
    )
    assert "Told study tiny failed: import_flow (1)\n" in result.stdout
    assert result.returncode != 0
    assert (
        "import_flow failed:\n  results/tiny/logs/import_flow.log\n    vsrbench: flow.pth: " in result.stdout
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sedes": [1]}, "'sedes' was unexpected"),
        ({"variants": ["full", "fsca"]}, "unknown variant 'fsca'"),
    ],
)
def test_mistake_in_a_study_is_one_line(workflow, change, expected):
    """More of them in tests/unit/test_study.py."""
    workflow.study |= change
    result = workflow.snakemake("-n")
    assert result.returncode != 0
    assert expected in message(result)


def test_ablation_equal_to_full_is_refused(workflow):
    workflow.edit("ablations/fcsa.yaml", "attention: fcsa", "attention: stcsa")
    assert "is already the full model's value" in message(workflow.snakemake("-n"))


def test_gpus_that_cannot_share_a_batch_evenly_are_refused(workflow):
    workflow.edit("workflow/profiles/slurm/config.yaml", "gpus_per_training: 1 ", "gpus_per_training: 3 ")
    said = message(workflow.snakemake("-n", "--profile", "slurm"))
    assert "config.yaml: gpus_per_training 3 does not divide training.batch_size 2 of full; choose" in said


def test_wandb_settings_that_would_end_a_finished_study_are_refused(workflow):
    said = message(workflow.snakemake("-n", WANDB_MODE="onlin"))
    assert said == "WANDB_MODE is 'onlin'; set it to one of online, offline, disabled, or unset it"


def test_results_folder_that_cannot_be_written_is_refused(workflow):
    (workflow.folder / "results").write_text("a file where the folder should be")
    assert "results cannot be written here" in message(workflow.snakemake("-n"))


def make_study(workflow, name: str) -> subprocess.CompletedProcess:
    """Start a study as `make study STUDY=<name>` does."""
    (workflow.folder / ".venv").symlink_to(Path(sys.prefix))
    return subprocess.run(
        ["sh", "workflow/run_study.sh"],
        cwd=workflow.folder,
        env=workflow.environment(STUDY=name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("name", ["../outside", "a/../../../outside", "/tmp/outside", "..", "", "a b"])
def test_a_name_that_is_no_study_creates_nothing(tmp_path, name):
    (tmp_path / "clone").mkdir()
    workflow = copy_of_the_workflow(tmp_path / "clone")
    before = sorted(tmp_path.rglob("*"))
    result = make_study(workflow, name)
    assert result.returncode == 2
    expected = "expected a file of workflow/config/, without .yaml"
    assert result.stdout == f"study: STUDY={name} is not the name of a study; {expected}\n"
    assert sorted(tmp_path.rglob("*")) == sorted([*before, workflow.folder / ".venv"])


NOT_YAML = {
    "study: broken\nvariants: [full\nseeds: [1]\n": ", line 3: not YAML: expected ',' or ']'",
    "study: broken\nseeds: !!python/name:os.system\n": ", line 2: not YAML: could not determine a",
    "- study: broken\n": ": expected a mapping of keys to values",
}


@pytest.mark.parametrize(("text", "said"), NOT_YAML.items(), ids=["syntax", "tag", "list"])
def test_a_study_file_that_is_not_yaml_is_named_with_its_line(workflow, text, said, caplog):
    """Not by a `snakemake --configfile` typed by hand, which reads the file before any of our code runs."""
    path = workflow.folder / "workflow" / "config" / "broken.yaml"
    path.write_text(text)
    made = make_study(workflow, "broken")
    assert made.returncode == 2 and len(made.stdout.splitlines()) == 1
    assert made.stdout.startswith(f"vsrbench: workflow/config/broken.yaml{said}")
    for command in (["plan", "--study"], ["repair", "results/broken", "--config"]):
        caplog.clear()
        assert main([*command, str(path)]) == 2
        assert caplog.messages[0].startswith(f"{path}{said}") and len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (1, "study: waiting for another run of demo to end ..."),  # which the second call then does
        (71, "study: results/demo/.lock cannot be locked; clone to a disk that has file locks"),
    ],
)
def test_a_disk_without_file_locks_is_not_taken_for_another_run(workflow, status, said):
    program = stand_in(workflow.folder / "bin", "flock", f"[ $1 != --nonblock ] || exit {status}")
    result = subprocess.run(
        ["sh", "workflow/run_study.sh"],
        cwd=workflow.folder,
        env=workflow.environment(STUDY="demo", PATH=f"{program.parent}:{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (result.returncode, result.stdout) == (0 if status == 1 else 2, f"{said}\n")


@pytest.mark.parametrize(
    ("snakemake", "status", "said"),
    [
        ('echo "snakemake $4"', 0, ["aliased.yaml", "filtered.yaml", "verdicts"]),
        ('echo "snakemake $4"; exit 1', 1, ["aliased.yaml"]),
    ],
    ids=["finished", "failed"],
)
def test_claims_run_their_studies_one_after_another_and_then_the_verdicts(workflow, snakemake, status, said):
    programs = workflow.folder / ".venv" / "bin"
    programs.parent.mkdir()
    stand_in(programs, "snakemake", snakemake)
    listed = '"claims --list") echo aliased filtered'
    stand_in(programs, "vsrbench", f'case "$*" in {listed} ;; claims) echo verdicts ;; esac')
    result = subprocess.run(
        ["sh", "workflow/run_study.sh"],
        cwd=workflow.folder,
        env=workflow.environment(STUDY="claims"),
        capture_output=True,
        text=True,
    )
    assert result.returncode == status, result.stderr
    assert result.stdout.splitlines() == [
        word if word == "verdicts" else f"snakemake workflow/config/{word}" for word in said
    ]


def test_reach_is_measured_where_the_study_asks_for_it(workflow):
    assert "measure_reach" not in workflow.snakemake("-n").stdout
    workflow.study["reach"] = True
    planned = workflow.snakemake("-n", "--quiet", "host").stdout
    rules = [line.split() for line in planned.splitlines()]
    trained = len([name for name in workflow.study["variants"] if name != "oracle_flow"])
    assert ["measure_reach", str(trained * len(workflow.study["seeds"]))] in rules
    assert ["compare_reach", "1"] in rules
