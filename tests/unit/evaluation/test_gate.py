"""The gate: what it lets through, and every trap planted and named."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from forged_manifest import forge
from skimage import data

from vsrbench.core.errors import InputError
from vsrbench.data.clips import write_frame
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import degrade
from vsrbench.data.verification import verify
from vsrbench.evaluation import gate as gate_module
from vsrbench.evaluation.evaluate import evaluate
from vsrbench.evaluation.gate import average, check_anchors, gate
from vsrbench.results.study_results import read_rows

FRAMES = 5


def scene() -> np.ndarray:
    """A photograph under a camera that moves seven pixels a frame."""
    photograph = data.coffee()
    return np.stack([photograph[100:244, 50 + 7 * t : 242 + 7 * t] for t in range(FRAMES)])


class Study:
    """One clip, evaluated by bicubic, and the anchor that its sound frames give."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.gt, self.lq = scene(), degrade(scene(), "BI")

    def write(self) -> None:
        for kind, frames in (("GT", self.gt), ("BIx4", self.lq)):
            (self.folder / "clips" / kind / "coffee").mkdir(parents=True, exist_ok=True)
            for t, frame in enumerate(frames):
                write_frame(self.folder / "clips" / kind / "coffee" / f"{t:08d}.png", frame)

    def score(self) -> pd.DataFrame:
        self.write()
        forge(self.folder / "manifest.json")
        evaluate(
            study="gate",
            variant="bicubic",
            seed=0,
            manifest=self.folder / "manifest.json",
            rows=self.folder / "rows.csv",
            frames=self.folder / "pictures",
            metrics=["psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y"],
        )
        return read_rows(self.folder / "rows.csv")

    def gate(self) -> dict:
        paths = {
            name: self.folder / file for name, file in (("rows", "rows.csv"), ("manifest", "manifest.json"))
        }
        gate(**paths, out=self.folder / "gate.json")
        return json.loads((self.folder / "gate.json").read_text())


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    study = Study(tmp_path)
    study.write()
    verify("folder", tmp_path / "clips", "BI", tmp_path / "manifest.json")
    means = study.score().mean(numeric_only=True)
    anchor = f"folder,BI,Y,coffee,1,{FRAMES},{means['psnr_y']},{means['ssim_y']},here"
    header = "dataset,degradation,channel,clip,clips,frames,psnr_db,ssim,source"
    (tmp_path / "anchors.csv").write_text(f"{header}\n{anchor}\n")
    monkeypatch.setattr(gate_module, "ANCHORS", tmp_path / "anchors.csv")
    return study


def test_sound_frames_pass(study):
    report = study.gate()
    assert [check["clip"] for check in report["checks"]] == ["coffee"]
    assert report["infinite_psnr_frames"] == 0
    measured = pytest.approx(report["checks"][0]["psnr"])  # one clip: both averages are its own
    assert report["averages"]["psnr_y"] == {"clip_mean": measured, "frame_mean": measured}


def skip(study):
    """From the third frame on, every low-quality frame is the one after."""
    study.lq[2:-1] = study.lq[3:]


def shift_phase(study):
    study.lq = degrade(np.roll(study.gt, 1, axis=2), "BI")


def blur(study):
    study.lq = degrade(study.gt, "BD")


def swap_low_quality(study):
    study.lq = study.lq[..., ::-1]


def swap_everything(study):
    study.lq, study.gt = study.lq[..., ::-1], study.gt[..., ::-1]


def resize_with_opencv(study):
    study.lq = np.stack(
        [cv2.resize(gt, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_CUBIC) for gt in study.gt]
    )


def exchange_clip(study):
    study.lq = study.lq[:, ::-1]


TRAPS = [
    (skip, "00000002.png: matches 00000003.png: a frame was skipped"),
    (shift_phase, "00000000.png: its sampling phase is off by 0 down and 1 right"),
    (blur, "00000000.png: is BD, not BI"),
    (swap_low_quality, "00000000.png: red and blue are swapped relative to its ground truth"),
    (swap_everything, "(coffee|city): red and blue are swapped in all frames"),
    (resize_with_opencv, r"00000000.png: was downsampled by OpenCV \(bicubic\)"),
    (exchange_clip, "00000000.png: is not the BI frame of 00000000.png"),
]


@pytest.mark.parametrize("plant, cause", TRAPS, ids=[plant.__name__ for plant, _ in TRAPS])
def test_planted_trap_is_named(study, plant, cause):
    plant(study)
    study.score()
    with pytest.raises(InputError, match=f"^[^\n]*likely cause: [^\n]*{cause}[^\n]*$"):
        study.gate()
    assert not (study.folder / "gate.json").exists()


def test_scores_of_the_other_channel_are_noticed(study):
    rows = pd.read_csv(study.folder / "rows.csv")
    swapped = {"psnr_rgb": "psnr_y", "psnr_y": "psnr_rgb", "ssim_rgb": "ssim_y", "ssim_y": "ssim_rgb"}
    rows.rename(columns=swapped).to_csv(study.folder / "rows.csv", index=False)
    with pytest.raises(InputError, match="the column of Y holds scores on RGB"):
        study.gate()


def test_missing_frames_are_noticed_even_if_the_mean_is_right(study):
    rows = pd.read_csv(study.folder / "rows.csv")
    rows["psnr_y"], rows["ssim_y"] = rows["psnr_y"].mean(), rows["ssim_y"].mean()
    rows[:-1].to_csv(study.folder / "rows.csv", index=False)
    with pytest.raises(InputError, match=f"{FRAMES - 1} frames were scored, the protocol scores {FRAMES}"):
        study.gate()


def test_a_network_cannot_pass_for_bicubic(study):
    rows = pd.read_csv(study.folder / "rows.csv").assign(variant="full")
    rows.to_csv(study.folder / "rows.csv", index=False)
    with pytest.raises(InputError, match="expected scores of bicubic, got full"):
        study.gate()


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (
            {"min_frames": FRAMES + 2},
            "clips: clip coffee has 5 frames, fewer than a window of 7; leave it out",
        ),
        ({"min_edge": 40}, "clips: clip coffee has 48x36 LQ pixels, smaller than a tile of 40; leave it out"),
    ],
)
def test_a_clip_that_no_network_could_restore_is_named_before_any_is_trained(study, least, said):
    paths = {"rows": study.folder / "rows.csv", "manifest": study.folder / "manifest.json"}
    with pytest.raises(InputError, match=f"^[^\n]*{said}[^\n]*$"):
        gate(**paths, out=study.folder / "gate.json", **least)
    assert not (study.folder / "gate.json").exists()
    gate(**paths, out=study.folder / "gate.json", min_frames=FRAMES, min_edge=36)


def test_no_anchor_passes_and_says_so(study):
    gate_module.ANCHORS.write_text(gate_module.ANCHORS.read_text().replace("folder,", "vid4,"))
    report = study.gate()
    assert report["checks"] == [] and "no published bicubic score" in report["note"]


def rows_of(scores: dict[str, list[float]]) -> pd.DataFrame:
    frames = [(clip, value) for clip, values in scores.items() for value in values]
    return pd.DataFrame(frames, columns=["clip", "psnr_rgb"]).reindex(columns=["clip", *gate_module.METRICS])


def test_both_averages_and_infinite_frames():
    averages = average(rows_of({"long": [30, 30, 30], "short": [20, np.inf]})).loc["psnr_rgb"]
    assert averages.to_dict() == {"clip_mean": 25, "frame_mean": 27.5, "infinite": 1}


def test_a_part_of_vid4_is_held_against_its_clips():
    """The shipped anchors, without the pictures: city alone, then all four clips."""
    anchors = pd.read_csv(gate_module.ANCHORS)

    class Named:
        dataset, degradation = "vid4", "BI"

        def __init__(self, name):
            self.name = name

    per_clip = anchors[
        anchors["dataset"].eq("vid4") & anchors["degradation"].eq("BI") & anchors["clips"].eq(1)
    ]
    rows = pd.concat(
        pd.DataFrame(
            {"clip": anchor["clip"], "psnr_y": [anchor["psnr_db"]] * anchor["frames"], "ssim_y": ssim}
        )
        for anchor, ssim in zip(per_clip.to_dict("records"), (0.5721, 0.6028, 0.5664, 0.7974), strict=True)
    ).reindex(columns=["clip", *gate_module.METRICS])
    city = check_anchors(rows[rows["clip"] == "city"], [Named("city")], anchors)
    assert [check["clip"] for check in city] == ["city"]
    everything = check_anchors(rows, [Named(name) for name in per_clip["clip"]], anchors)
    assert {check["clip"] for check in everything} == {"average", *per_clip["clip"]}


class City(Study):
    """Vid4 "city" in a folder of its own."""

    def __init__(self, folder: Path, source: Path):
        self.folder = folder
        shutil.copytree(source / "Vid4", folder / "clips" / "Vid4")
        verify("vid4", folder / "clips", "BI", folder / "manifest.json")
        self.lq, self.gt = load_clips(folder / "manifest.json", "test")[0].read()

    def write(self) -> None:
        for kind, frames in (("GT", self.gt), ("BIx4", self.lq)):
            for t, frame in enumerate(frames):
                write_frame(self.folder / f"clips/Vid4/{kind}/city/{t:08d}.png", frame)


def test_city_passes(tmp_path, shared_data):
    city = City(tmp_path, shared_data)
    city.score()
    (check,) = city.gate()["checks"]
    assert abs(check["psnr"] - 25.1648) <= 5e-4 and abs(check["ssim"] - 0.6028) <= 1e-4


# Those whose cause depends on the clip's length, its motion or the published score; BD in tests/workflow.
REAL_TRAPS = [(plant, cause) for plant, cause in TRAPS if plant in (skip, shift_phase, swap_everything)]


@pytest.mark.parametrize("plant, cause", REAL_TRAPS, ids=[plant.__name__ for plant, _ in REAL_TRAPS])
def test_city_with_a_planted_trap(tmp_path, shared_data, plant, cause):
    city = City(tmp_path, shared_data)
    plant(city)
    city.score()
    with pytest.raises(InputError, match=cause):
        city.gate()
