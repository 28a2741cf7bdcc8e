"""The code digest: moved by mathematics, not by words; and only by code that the step depends on."""

import json
import shutil

import pytest
from workflow_copy import ROOT

from vsrbench.core import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the sources that a test may edit; returns a function that edits one file."""
    for name, folder in (("models", ROOT / "models"), ("vsrbench", ROOT / "workflow" / "vsrbench")):
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    packages = {name: tmp_path / name for name in ("models", "vsrbench")}
    monkeypatch.setattr(provenance, "_PACKAGES", packages)

    def edit(file: str, old: str, new: str):
        text = (tmp_path / file).read_text()
        assert old in text
        (tmp_path / file).write_text(text.replace(old, new, 1))

    return edit


def digests() -> dict[str, str]:
    return {step: provenance.code_digest(step) for step in provenance.STEPS}


def changed(before: dict[str, str]) -> set[str]:
    return {step for step, digest in digests().items() if digest != before[step]}


def test_comment_docstring_and_blank_lines_change_nothing(project):
    before = digests()
    project("models/attention.py", "class ", "# a remark\n\n\nclass ")
    project("models/vsr_transformer.py", '"""The Video', '"""A Video')
    assert changed(before) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "touched"),
    [
        (
            "models/attention.py",
            "class ",
            "CONSTANT = 2\n\n\nclass ",
            {
                *("train", "import_weights", "gate", "evaluate", "inspect", "measure_runtime", "restore"),
                *("make_figures", "measure_reach", "learn_patterns", "measure_gradients"),
            },
        ),
        (
            "vsrbench/evaluation/metrics.py",
            "import cv2",
            "CONSTANT = 2\nimport cv2",
            {"gate", "evaluate", "measure_reach"},
        ),
        (
            "vsrbench/results/statistics.py",
            "CONFIDENCE = 0.95",
            "CONFIDENCE = 0.9",
            {"gate", "make_tables", "make_figures", "make_report", "summarise_patterns"},
        ),
        (
            "models/state_dicts.py",
            "int(layer) // 2",
            "int(layer) // 3",
            {"train_flow", "import_flow", "import_weights", "train", "restore"},
        ),
        ("vsrbench/core/provenance.py", "import ast", "import ast\n\nCONSTANT = 2", set()),
    ],
    ids=["network", "metric", "statistics", "reading of weights", "provenance itself"],
)
def test_an_edit_touches_the_steps_that_depend_on_it(project, file, old, new, touched):
    before = digests()
    project(file, old, new)
    assert changed(before) == touched


def test_names_of_released_weights_matter_where_those_are_imported(project, monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    before = digests()
    project("models/official.py", "^extraction", "^features")
    assert changed(before) == {"import_weights"}


def test_saving_and_accounting_repeat_nothing(project):
    before = digests()
    project("vsrbench/training/checkpoint.py", "KEPT = 2", "KEPT = 3")
    project("vsrbench/training/resource_usage.py", "3600, 5", "3600, 6")
    assert changed(before) == set()


def test_what_is_read_beside_the_code_counts(monkeypatch):
    before = digests()
    monkeypatch.setitem(provenance._READS, "gate", ["workflow/reference/clips.csv"])
    assert changed(before) == {"gate"}


def test_a_module_that_is_imported_lazily_counts():
    assert "vsrbench.training.lr_schedule" in provenance._project_modules("vsrbench.training.train_vsr")


def test_record_names_revision_digest_machine_and_time(tmp_path):
    path = tmp_path / "provenance.json"
    provenance.write_provenance(path, provenance.begin("train"), seed=3)
    record = json.loads(path.read_text())
    assert record["seed"] == 3
    assert record["code_digest"] == provenance.code_digest("train")
    assert record["machine"]["versions"]["torch"]
    assert record["hours"] >= 0
