"""Real clips through Snakemake: the reference scores, the gate on a planted trap, damage that stops all."""

import shutil

import numpy as np
import pandas as pd
import pytest
from forged_manifest import forge
from workflow_copy import copy_of_the_workflow

from vsrbench.data.clips import write_frame
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import degrade

# PSNR Y, SSIM Y, PSNR RGB, SSIM RGB, LPIPS alex, LPIPS squeeze of bicubic, from the README beside the clips.
METRICS = ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lpips_alex", "lpips_squeeze"]
TOLERANCE = [5e-4, 1e-4, 5e-4, 1e-4, 1e-3, 1e-3]
REFERENCE = {
    ("vid4", "city", 34): (25.1648, 0.6028, 23.6927, 0.5683, 0.5222, 0.4552),
    ("foliage", "foliage", 8): (23.5166, 0.5718, 22.1556, 0.5490, 0.5494, 0.3558),
    ("septuplets", "0001", 7): (37.6988, 0.9379, 36.0739, 0.9223, 0.3680, 0.2931),
    ("septuplets", "0004", 7): (36.6271, 0.9591, 34.5117, 0.9485, 0.1509, 0.1747),
    ("vimeo90k", "00002/0001", 1): (38.1689, 0.9387, 36.5472, 0.9230, 0.3647, 0.2923),
    ("vimeo90k", "00002/0004", 1): (36.4033, 0.9593, 34.3133, 0.9489, 0.1517, 0.1695),
}
GATE = "results/tiny/evaluations/{}/gate.json"


@pytest.fixture(scope="module")
def scored(tmp_path_factory, shared_data, lpips_weights):
    """Bicubic on all the real clips: by their data sets' own layouts, and as folders of one's own."""
    folder = tmp_path_factory.mktemp("scored")
    workflow = copy_of_the_workflow(folder)
    root = folder / "data"
    shutil.copytree(shared_data / "Vid4", root / "Vid4")
    shutil.copytree(shared_data / "vimeo90k" / "GT", root / "vimeo_septuplet" / "sequences")
    write_lists(root / "vimeo_septuplet")
    workflow.study |= {
        "data_root": str(root),
        "lpips_weights": str(lpips_weights),
        "evaluate_on": {"vid4": "required", "vimeo90k": "required"},
        "folders": {
            "foliage": str(shared_data / "Vid4_excerpt"),
            "septuplets": str(shared_data / "vimeo90k" / "GT" / "00002"),
        },
    }
    workflow.study["evaluation"]["metrics"] = METRICS
    datasets = dict.fromkeys(dataset for dataset, _, _ in REFERENCE)
    result = workflow.snakemake("--", *(GATE.format(dataset) for dataset in datasets))
    assert result.returncode == 0, result.stdout
    return workflow


def write_lists(folder):
    """The official lists by their lengths; the two clips that are there are test clips in them."""
    ours = ["00002/0001", "00002/0004"]
    for name, count in {"train": 64612, "test": 7824}.items():
        names = [f"{name}/{number}" for number in range(count)]
        if name == "test":
            names[1:3] = ours  # the first one is a validation clip too
        (folder / f"sep_{name}list.txt").write_text("\n".join(names))


@pytest.mark.parametrize("place", REFERENCE, ids=lambda place: "-".join(map(str, place)).replace("/", "_"))
def test_reference_scores(scored, place):
    dataset, clip, frames = place
    rows = pd.read_csv(
        scored.folder / f"results/tiny/evaluations/{dataset}/bicubic/seed_0.csv", dtype={"clip": str}
    )
    rows = rows[rows["clip"] == clip]
    assert len(rows) == frames and set(rows["dataset"]) == {dataset}
    difference = np.abs(rows[METRICS].mean() - np.array(REFERENCE[place]))
    assert (difference <= np.array(TOLERANCE)).all(), difference.to_dict()


def test_gate_fails_on_a_planted_trap(scored):
    """BD frames take the place of BI's after they were verified; the metrics asked for repeat the scoring.

    They are noticed as changed; where they could not be, the gate says what they are.
    """
    manifest = scored.folder / "results" / "tiny" / "data" / "vid4" / "manifest.json"
    (city,) = load_clips(manifest, "test")
    for path, gt in zip(city.lq, city.read_gt(range(city.num_frames)), strict=True):
        write_frame(path, degrade(gt[None], "BD")[0])
    scored.study["evaluation"]["metrics"] = METRICS[:4]
    result = scored.snakemake("--", GATE.format("vid4"))
    assert result.returncode != 0
    assert "/Vid4/GT/city: clip city has changed since results/tiny/data/vid4/manifest.json" in result.stdout
    forge(manifest)
    result = scored.snakemake("--", GATE.format("vid4"))
    assert result.returncode != 0
    said = [line for line in result.stdout.splitlines() if "likely cause" in line]
    assert "data/Vid4/BIx4/city/00000000.png: is BD, not BI; use the BI frames" in said[-1]
    assert not (scored.folder / GATE.format("vid4")).exists()


def test_damage_is_said_and_nothing_is_trained(workflow):
    clips = workflow.folder / "clips"
    for name in ("small", "gap", "torn"):
        (clips / name).mkdir(parents=True)
        for t in range(5):
            frame = np.random.default_rng(t).integers(0, 256, (64, 64, 3)).astype(np.uint8)
            write_frame(clips / name / f"{t:08d}.png", frame)
    write_frame(clips / "small" / "00000002.png", np.zeros((60, 64, 3), np.uint8))
    (clips / "gap" / "00000002.png").unlink()
    torn = clips / "torn" / "00000002.png"
    torn.write_bytes(torn.read_bytes()[:-30])
    workflow.study |= {"evaluate_on": {}, "folders": {"mine": str(clips)}}
    result = workflow.snakemake()
    assert result.returncode != 0
    last = result.stdout[result.stdout.rindex("verify failed") :]
    assert f"{clips}: 3 problems in mine; fix all of them:" in last
    for name, said in {
        "small": "expected 64x64, got 64x60; restore this frame",
        "gap": "No such file or directory; restore this frame",
        "torn": "truncated PNG; copy it again",
    }.items():
        assert f"{clips}/{name}/00000002.png: {said}" in last
    assert "Traceback" not in last
    done = {path.name for path in (workflow.folder / "results" / "tiny").iterdir()}
    assert not done & {"flow", "runs"} and not (workflow.folder / "results/tiny/data/mine").exists()
