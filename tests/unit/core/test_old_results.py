"""What vsrt-bench 0.1 wrote is refused in one line that says so, wherever it would be read."""

import pandas as pd
import pytest
import yaml
from synthetic import write_study
from tiny_training import write_variant
from workflow_copy import ROOT

from vsrbench.core.config import load_variant, read_yaml
from vsrbench.core.errors import InputError
from vsrbench.orchestration.study import load_study
from vsrbench.report.compare_studies import compare
from vsrbench.report.explain import explain
from vsrbench.results.run_records import find_records
from vsrbench.results.study_results import read_rows
from vsrbench.training.checkpoint import load_latest, save_checkpoint


def refused(path, name):
    """The whole message."""
    return pytest.raises(
        InputError,
        match=rf"^{path}: written by vsrt-bench 0\.1 \(it has {name}\), which this version does not read; "
        r"move the study's folder away and run the study again$",
    )


@pytest.mark.parametrize(
    ("section", "new", "old"),
    [
        ("model", "positional_encoding", "position_encoding"),
        ("training", "activation_checkpointing", "recompute"),
    ],
)
def test_a_resolved_variant(tmp_path, section, new, old):
    path = write_variant(tmp_path / "full.yaml")
    settings = yaml.safe_load(path.read_text())
    settings[section][old] = settings[section].pop(new)
    path.write_text(yaml.safe_dump(settings))
    with refused(path, old):
        load_variant(path)


def test_rows_of_an_evaluation(tmp_path):
    path = write_study(
        tmp_path / "demo", effects={"full": (0, 0.1)}, clips={"vid4": {"city": 2}}
    ).evaluations[0]
    pd.read_csv(path).rename(columns={"tof": "t_of", "tlp": "t_lp"}).to_csv(path, index=False)
    with refused(path, "t_of"):
        read_rows(path)


@pytest.mark.parametrize("finished", [True, False])
def test_a_checkpoint(tmp_path, finished):
    save_checkpoint(tmp_path, 5, {"identity": {"seed": 1, "recipe": "0123"}, "finished": finished})
    with refused(tmp_path, "recipe"):
        load_latest(tmp_path, {"seed": 1, "settings": "0123"})


@pytest.mark.parametrize(
    "read",
    [
        lambda study: compare(study, study),
        lambda study: explain(study / "tables" / "ablations.csv", "full:psnr_rgb"),
        lambda study: list(find_records(study)),
    ],
)
def test_a_study_for_a_command(tmp_path, read):
    (tmp_path / "recipes" / "train").mkdir(parents=True)
    with refused(tmp_path, "recipes/"):
        read(tmp_path)


def test_a_study_that_is_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "tiny" / "recipes").mkdir(parents=True)
    with refused("results/tiny", "recipes/"):
        load_study(read_yaml(ROOT / "tests" / "workflow" / "tiny.yaml"))
