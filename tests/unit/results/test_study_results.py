"""Rows are those of the manifest's frames, each once, or refused in one line."""

from pathlib import Path

import pandas as pd
import pytest

from vsrbench.core.errors import InputError
from vsrbench.results.study_results import check_complete

PATH = Path("evaluations/vid4/full/seed_1.csv")
MANIFEST = {
    "clips": [
        {"name": "city", "split": "test", "frames": 2},
        {"name": "walk", "split": "test", "frames": 3, "scored": [1]},
        {"name": "other", "split": "train", "frames": 9},
    ]
}
ROWS = pd.DataFrame(
    {"clip": ["city", "city", "walk"], "frame": [0, 1, 1], "dataset": "vid4", "variant": "full", "seed": 1}
)


def test_complete_rows_pass():
    check_complete(PATH, ROWS, MANIFEST)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (ROWS[:2], "has no row for frame 1 of clip walk"),
        (ROWS.assign(frame=[0, 1, 2]), "has no row for frame 1 of clip walk"),
        (pd.concat([ROWS, ROWS[2:].assign(frame=2)]), "manifest lacks it, frame 2 of clip walk"),
        (pd.concat([ROWS, ROWS[:1]]), "has 1 rows for frames that it has already scored"),
        (ROWS.assign(seed=2), "expected rows of seed 1, got 2"),
        (ROWS.assign(variant="fcsa"), "expected rows of variant full, got fcsa"),
    ],
    ids=["missing", "another", "surplus", "twice", "seed", "variant"],
)
def test_other_rows_are_refused(rows, fault):
    with pytest.raises(InputError, match=f"^{PATH}: .*{fault}.*; delete the file"):
        check_complete(PATH, rows, MANIFEST)
