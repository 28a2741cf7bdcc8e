"""A study of k-patterns runs by the same command, repeats what an edit concerns, and its chain holds."""

import subprocess
import sys

import pandas as pd
import pytest

from vsrbench.core.provenance import code_digest


@pytest.fixture
def patterns(workflow):
    workflow.study = {
        "study": "tiny_patterns",
        "title": "Tiny",
        "k_patterns": {
            "k": [2, 3],
            "functions": ["parity"],
            "learning_rates": {"sgd": [0.1, 0.3]},
            "tuning_seeds": [9],
            "tuning_steps": 100,
            "steps": 300,
            "batch_size": 32,
            "interval": 25,
            "initialisations": 2,
            "layers": {
                "convolutional": {"n": [16], "seeds": [1, 2]},
                "fcsa": {"n": [16], "k": [2], "seeds": [1, 2]},
            },
        },
    }
    return workflow


def test_study_of_k_patterns(patterns):
    assert code_digest("learn_patterns") != code_digest("summarise_patterns")
    result = patterns.snakemake()
    assert result.returncode == 0, result.stdout
    folder = patterns.folder / "results" / "tiny_patterns"
    text = (folder / "tables" / "cells.txt").read_text()
    assert text in result.stdout and "convolutional 16" in text
    table = pd.read_csv(folder / "tables" / "trainings.csv")
    assert len(table) == 2 * 2 + 2 and table.steps_to_learn.notna().any()
    assert (folder / "lineage" / "tables" / "gradients.csv.json").is_file()
    assert not (folder / "tables" / "lineage").exists()
    for place in table.run.unique():
        assert (folder / "runs" / place).is_file()

    checked = subprocess.run(
        [sys.executable, "-m", "vsrbench", "check", str(folder)],
        env=patterns.environment(),
        cwd=patterns.folder,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and "0 broken" in checked.stdout, checked.stdout + checked.stderr

    patterns.edit("workflow/vsrbench/patterns/summary.py", "Median steps", "The median steps")
    planned = patterns.snakemake("--dry-run").stdout
    assert "rule summarise_patterns" in planned and "rule learn_patterns" not in planned
    patterns.study["k_patterns"]["layers"]["fcsa"]["seeds"] = [1, 2, 3]
    planned = patterns.snakemake("--dry-run").stdout
    assert planned.count("rule learn_patterns") == 1 and "layer=fcsa" in planned
