"""What docs/extending.md adds to the code, made in a copy of it and found in the table."""

import re
import subprocess
import sys

import pytest
from workflow_copy import ROOT, Workflow, copy_of_the_workflow

BLOCK = re.compile(r"(In|At the end of|The file) `([^`]+)`[^\n]*:\n\n```\w+\n(.*?)```", re.DOTALL)

# Networks are not trained: their weights are random, which is enough for a row.
SCORE_AND_TABULATE = """
from pathlib import Path
import numpy as np, torch, yaml
from safetensors.torch import save_file
from models import build_model
from vsrbench.core.config import read_yaml
from vsrbench.data.clips import write_frame
from vsrbench.data.verification import verify
from vsrbench.evaluation.evaluate import evaluate
from vsrbench.orchestration.study import load_study
from vsrbench.report.tables import make_tables
from vsrbench.results.study_results import StudyFiles

for t, frame in enumerate(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)):
    path = Path("data/Lights/GT/street", f"{t:08d}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frame(path, frame)
verify("lights", Path("data"), "BI", Path("manifest.json"))
study = load_study(read_yaml("study.yaml"))
evaluations, configs = [], []
for name in (*study.variants, *study.baselines):
    network = {}
    if name in study.variants:
        network = {"config": Path(f"{name}.yaml"), "weights": Path(f"{name}.safetensors")}
        network["config"].write_text(yaml.safe_dump(study.variants[name].to_dict()))
        save_file(build_model(study.variants[name].model).state_dict(), network["weights"])
        configs.append(network["config"])
    rows = Path(f"evaluations/lights/{name}/seed_{study.seeds(name)[0]}.csv")
    metrics = study.settings["evaluation"]["metrics"]
    evaluate(study="tiny", variant=name, seed=study.seeds(name)[0], manifest=Path("manifest.json"), rows=rows,
             frames=Path("frames", name), metrics=metrics, **network)
    evaluations.append(rows)
make_tables(StudyFiles(tuple(evaluations), tuple(configs)), Path("tables"), title="Tiny", note="")
"""


def insert(diff: str, text: str) -> str:
    """`text` with the added lines of `diff` after its first line, which `text` has once."""
    before, *added = (line[1:] for line in diff.splitlines(keepends=True))
    assert text.count(f"\n{before}") == 1 and diff.count("\n+") == len(added)
    return text.replace(f"\n{before}", "\n" + "".join([before, *added]))


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Workflow:
    """A copy of the repository with all that the page adds, and a study that asks for it."""
    workflow = copy_of_the_workflow(tmp_path_factory.mktemp("extended"))
    blocks = BLOCK.findall((ROOT / "docs" / "extending.md").read_text())
    assert len(blocks) == 8
    for where, file, code in blocks:
        path = workflow.folder / file
        path.parent.mkdir(exist_ok=True)
        old = path.read_text() if path.exists() else ""
        path.write_text(insert(code, old) if where == "In" else f"{old}{code}")
    workflow.study["variants"] = ["full", "two_heads", "enlarger", "basicvsr"]
    workflow.study["networks"] = {"basicvsr": {"num_feat": 8, "num_blocks": 1}}
    workflow.study["baselines"] = ["bicubic", "nearest"]
    workflow.study["evaluate_on"] = {"photo_motion": "required", "lights": "required"}
    workflow.study["evaluation"]["metrics"] += ["mae"]
    workflow.study["data_root"] = "data"
    workflow.command()  # writes the study file
    command = [sys.executable, "-c", SCORE_AND_TABULATE]
    subprocess.run(command, cwd=workflow.folder, env=workflow.environment(), check=True)
    return workflow


@pytest.mark.parametrize(
    "added", ["MAE", "lights, BI x4, 1 clip", "nearest", "two_heads", "enlarger", "basicvsr"]
)
def test_an_addition_is_in_the_table(extended, added):
    text = (extended.folder / "tables" / "ablations.txt").read_text()
    assert added in text and "nan" not in text


def test_the_workflow_plans_the_additions(extended):
    result = extended.snakemake("-n")
    assert result.returncode == 0, result.stdout
    for dataset in ("photo_motion", "lights"):
        for run in ("nearest/seed_0", "two_heads/seed_1", "enlarger/seed_1"):
            assert f"results/tiny/evaluations/{dataset}/{run}.csv" in result.stdout
