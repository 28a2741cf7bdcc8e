"""Damages to a finished study, then `make study` again: refused in one line, or made again bit for bit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from workflow_copy import Workflow

from vsrbench.core.files import sha256
from vsrbench.core.lineage import locate, recorded

RUN = "runs/full/seed_2"
WEIGHTS = "runs/fcsa/seed_1/weights.safetensors"
RAISED, CUT = (f"evaluations/photo_motion/{run}.csv" for run in ("full/seed_1", "fcsa/seed_2"))


@pytest.fixture
def study(finished: Workflow, tmp_path) -> Workflow:
    """A copy of the finished study, to be damaged."""
    folder = tmp_path / "study"
    shutil.copytree(finished.folder, folder, symlinks=True)
    workflow = Workflow(folder, finished.study)
    workflow.command()
    shutil.copy(folder / "study.yaml", folder / "workflow" / "config" / "tiny.yaml")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return workflow


def run(workflow: Workflow, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        cwd=workflow.folder,
        env=workflow.environment(STUDY="tiny"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def raise_scores(path: Path) -> None:
    """Raise most scores by 5 dB and remove a third of the rows."""
    rows = pd.read_csv(path)
    rows["psnr_rgb"] += 5
    rows.iloc[: 2 * len(rows) // 3].to_csv(path, index=False)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def digests(study: Path, *kinds: str) -> dict[str, str]:
    return {found.name: sha256(found.path) for found in recorded(study) if found.kind.name in kinds}


def test_each_damage_is_refused_or_repaired_bit_for_bit(study):
    """The damages that version 0.1 tabled or trained on, all at once; a clip's content needs `--deep`."""
    results = study.folder / "results" / "tiny"
    kept = ("weights", "scores", "frame store", "manifest", "runtime", "settings", "gate", "flow weights")
    before = digests(results, *kept)
    table = pd.read_csv(results / "tables" / "ablations.csv")
    index = results / "data" / "photo_motion" / "store" / "train" / "index.json"
    for clip in json.loads(index.read_text())["clips"]:
        flip(index.parent / clip["name"] / "lq.npy")
    shutil.rmtree(results / RUN)

    refused = run(study, "sh", "workflow/run_study.sh")
    assert refused.returncode == 2, refused.stdout
    said = "lq.npy: contents changed since it was written; build the store again"
    assert said in refused.stdout, refused.stdout
    assert "Traceback" not in refused.stdout and not (results / RUN / "weights.safetensors").exists()

    raise_scores(results / RAISED)
    cut(results / CUT)
    flip(results / WEIGHTS)
    broken = run(study, sys.executable, "-m", "vsrbench", "check", "--deep", "results/tiny")
    assert broken.returncode == 2
    for name in (RAISED, CUT, WEIGHTS):
        assert f"broken: results/tiny/{name}: changed since" in broken.stdout, broken.stdout
    assert f"missing: results/tiny/{RUN}/weights.safetensors: is missing" in broken.stdout

    repaired = run(study, sys.executable, "-m", "vsrbench", "repair", "--deep", "results/tiny")
    assert repaired.returncode == 0, repaired.stdout
    done = run(study, "sh", "workflow/run_study.sh")
    assert done.returncode == 0, done.stdout
    assert digests(results, *kept) == before
    scores = [column for column in table if column.startswith(("psnr", "ssim", "variant", "dataset"))]
    pd.testing.assert_frame_equal(pd.read_csv(results / "tables" / "ablations.csv")[scores], table[scores])
    checked = run(study, sys.executable, "-m", "vsrbench", "check", "--deep", "results/tiny")
    assert checked.returncode == 0, checked.stdout
    assert locate(results / RUN / "weights.safetensors").path.is_file()
