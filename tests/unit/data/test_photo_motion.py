"""photo_motion: split by photograph, the same clips for the same seed, flow that is exact."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.ndimage import map_coordinates

from vsrbench.core.errors import InputError
from vsrbench.data import moving_layers, photo_motion
from vsrbench.data.datasets import find_clips, load_clips
from vsrbench.data.degradation import DEGRADATIONS, degrade
from vsrbench.data.photo_motion import PHOTOGRAPHS, generate

SETTINGS = dict(seed=3, degradation="subsample", num_frames=4, size=96)
ONE_EACH = {"train": 1, "validation": 1, "test": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photo_motion")
    generate(folder, clips_per_photo=ONE_EACH, **SETTINGS)
    return folder


def clips(folder):
    return [clip for split in PHOTOGRAPHS for clip in find_clips("photo_motion", split, folder, "subsample")]


def files(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def scene(photograph):
    return photograph.removesuffix("_left").removesuffix("_right")


def test_no_photograph_and_no_scene_is_on_two_sides(folder):
    """Told by what the clips say they show, background and foreground, not by the table that made them."""
    sides = {}
    for entry in json.loads((folder / "manifest.json").read_text())["clips"]:
        for photograph in entry["photographs"]:
            sides.setdefault(scene(photograph), set()).add(entry["split"])
    assert len(sides) == 11
    assert all(len(found) == 1 for found in sides.values()), sides


def test_photographs_are_different_pictures():
    pictures = {photo_motion._photograph(name).numpy().tobytes() for name in sum(PHOTOGRAPHS.values(), ())}
    assert len(pictures) == sum(map(len, PHOTOGRAPHS.values())) == 12


def test_same_seed_same_bytes_and_another_seed_other_clips(folder, tmp_path):
    generate(tmp_path / "again", clips_per_photo=ONE_EACH, **SETTINGS)
    generate(tmp_path / "other", clips_per_photo=ONE_EACH, **(SETTINGS | {"seed": 4}))
    assert files(tmp_path / "again") == files(folder)
    digests = [
        {clip["sha256"] for clip in json.loads((path / "manifest.json").read_text())["clips"]}
        for path in (folder, tmp_path / "other")
    ]
    assert not digests[0] & digests[1]


def test_clips_of_other_code_are_drawn_again(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    clip = tmp_path / "test" / "coffee_000"
    before = clip.stat().st_ino
    generate(tmp_path, clips_per_photo=ONE_EACH, **SETTINGS)
    assert clip.stat().st_ino == before
    monkeypatch.setattr(photo_motion, "code_digest", lambda step: "changed since")
    generate(tmp_path, clips_per_photo={"test": 1}, **SETTINGS)
    assert json.loads((clip / "clip.json").read_text())["settings"]["version"] == "changed since"


def test_a_clip_that_changed_since_is_refused_and_drawn_again(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy)  # without the times
    (clip, *_) = load_clips(tmp_path / "manifest.json", "test")
    shutil.copy(clip.gt[1], clip.gt[0])
    with pytest.raises(InputError, match=f"clip {clip.name} has changed .* move the manifest away"):
        load_clips(tmp_path / "manifest.json", "test")
    generate(tmp_path, clips_per_photo=ONE_EACH, **SETTINGS)
    assert len(load_clips(tmp_path / "manifest.json", "test")) == 3


def test_more_clips_leave_the_others_as_they_are(folder, tmp_path):
    generate(tmp_path, clips_per_photo={"test": 2}, **SETTINGS)
    for clip in find_clips("photo_motion", "test", folder, "subsample"):
        same = tmp_path / "test" / clip.name / "gt" / "00000000.png"
        assert same.read_bytes() == clip.gt[0].read_bytes()


def test_lq_is_the_degraded_gt(folder):
    for clip in clips(folder):
        lq, gt = clip.read()
        assert lq.shape == (4, 24, 24, 3) and gt.shape == (4, 96, 96, 3)
        assert np.array_equal(lq, degrade(gt, "subsample"))


@pytest.mark.parametrize("size", [photo_motion.MIN_SIZE, 256, photo_motion.MAX_SIZE])
def test_camera_never_leaves_the_photograph_nor_blurs_it(size):
    """In the smallest photograph, over long paths: no border shows, none is magnified more than twofold."""
    picture = photo_motion._photograph("chelsea")
    corners = np.array([[0, 0], [0, size - 1], [size - 1, 0], [size - 1, size - 1]])
    for seed in range(40):
        layer = moving_layers.draw_background(np.random.default_rng(seed), picture, 60, size)
        height, width = layer.picture.shape[1:]
        for maps in layer.maps:
            seen = moving_layers.apply(maps, corners)
            assert (seen >= 0).all() and (seen <= (width - 1, height - 1)).all()
            assert 0.45 < np.sqrt(np.linalg.det(maps[:2, :2])) <= 1


def test_translation_stays_within_twelve_pixels_a_frame():
    picture, middle = photo_motion._photograph("coffee"), np.full(2, 127.5)
    speeds = []
    for seed in range(200):
        maps = moving_layers.draw_background(np.random.default_rng(seed), picture, 10, 256).maps
        shown = [
            moving_layers.apply(np.linalg.inv(b) @ a, middle) for a, b in zip(maps, maps[1:], strict=False)
        ]
        speeds.append(np.linalg.norm(shown - middle, axis=-1).max())
    assert (
        11 < max(speeds) < 14 and np.median(speeds) > 4
    )  # rotation and zoom add to translation off the anchor


@pytest.mark.parametrize(("name", "step"), [("forward", -1), ("backward", 1)])
def test_flow_warps_each_neighbour_onto_the_frame(folder, name, step):
    """Subsampled LQ pixels are GT pixels, so the GT of the neighbour, read at 4 q + 1 + 4 u, must be the LQ.

    Outside occlusions the PSNR is above 35 dB on average over the clips and above 30 dB in each, limited by
    interpolation and by the foreground's soft edge; a flow off by 0.1 LQ pixels loses more than 3 dB.
    """
    rows, columns = np.mgrid[1:96:4, 1:96:4].astype(float)
    psnr = {}
    for clip in clips(folder):
        flows, (lq, gt) = load_file(clip.flow), clip.read()
        for shift in (0, 0.4):
            errors = []
            for t in range(4):
                if not 0 <= t + step < 4:
                    assert not flows[f"flows_{name}"][t].any() and flows[f"occluded_{name}"][t].all()
                    continue
                x, y = 4 * flows[f"flows_{name}"][t] + shift
                warped = [
                    map_coordinates(
                        gt[t + step, ..., c].astype(float), [rows + y, columns + x], mode="nearest"
                    )
                    for c in range(3)
                ]
                errors.append(((np.stack(warped, -1) - lq[t]) ** 2)[~flows[f"occluded_{name}"][t]])
            psnr.setdefault(shift, []).append(10 * np.log10(255**2 / np.concatenate(errors).mean()))
    assert min(psnr[0]) > 30 and np.mean(psnr[0]) > 35, psnr[0]
    assert np.mean(psnr[0]) > np.mean(psnr[0.4]) + 3


def test_occlusions_are_those_of_a_round_trip(folder):
    """Where a point is seen in both frames, going there and back again ends where it began."""
    for clip in clips(folder):
        flows = load_file(clip.flow)
        rows, columns = np.mgrid[0:24, 0:24].astype(float)
        for t in range(1, 4):
            seen = ~flows["occluded_forward"][t]
            assert 0.3 < seen.mean() < 1
            x, y = flows["flows_forward"][t]
            back = [
                map_coordinates(
                    flows["flows_backward"][t - 1, c].astype(float), [rows + y, columns + x], order=1
                )
                for c in (0, 1)
            ]
            inside = (columns + x > 0) & (columns + x < 23) & (rows + y > 0) & (rows + y < 23)
            gap = np.hypot(back[0] + x, back[1] + y)[seen & inside]
            assert (gap < 0.05).mean() > 0.9  # the rest lies at the foreground's edge


def test_flow_follows_the_phase_of_the_degradation(tmp_path):
    """One scene, two phases: the flow at the same GT position is the same."""
    flows = {}
    for degradation in ("BI", "subsample"):
        folder = tmp_path / degradation
        generate(folder, clips_per_photo={"test": 1}, **(SETTINGS | {"degradation": degradation}))
        clip = find_clips("photo_motion", "test", folder, degradation)[0]
        flows[degradation] = clip.read_flows()[0][1].astype(float)
    places = np.mgrid[2:20, 2:20].astype(float)
    phase = (DEGRADATIONS["BI"].phase - DEGRADATIONS["subsample"].phase) / 4
    shifted = [map_coordinates(flows["subsample"][c], places + phase, order=1) for c in (0, 1)]
    difference = np.abs(np.stack(shifted) - flows["BI"][:, 2:20, 2:20])
    assert np.median(difference) < 1e-5 < np.median(np.abs(flows["subsample"] - flows["BI"]))


def test_a_killed_generation_leaves_only_whole_clips_and_goes_on(folder, tmp_path):
    code = (
        "from pathlib import Path; from vsrbench.data.photo_motion import generate; "
        f"generate(Path({str(tmp_path)!r}), clips_per_photo={ONE_EACH}, **{SETTINGS})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while len(list(tmp_path.glob("train/[!.]*"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "manifest.json").exists()
    begun = sorted(tmp_path.glob("train/[!.]*"))
    assert begun and all((clip / "clip.json").is_file() and len(files(clip)) == 10 for clip in begun)
    (begun[0] / "gt" / "00000001.png").write_bytes(b"damaged since")
    kept = begun[1].stat().st_mtime_ns
    generate(tmp_path, clips_per_photo=ONE_EACH, **SETTINGS)
    assert begun[1].stat().st_mtime_ns == kept
    assert {path: digest for path, digest in files(tmp_path).items() if ".partial" not in str(path)} == files(
        folder
    )


@pytest.mark.parametrize(("change", "said"), [
    ({"size": 98}, "multiple of 4"),
    ({"size": 400}, "from 32 to 352"),
    ({"clips_per_photo": {"exam": 1}}, "unknown split 'exam'; expected one of train, validation, test"),
    ({"degradation": "blur"}, "unknown degradation 'blur'; expected one of BI"),
])  # fmt: skip
def test_impossible_settings_are_refused_in_one_line(tmp_path, change, said):
    with pytest.raises(InputError, match=said) as error:
        generate(tmp_path, **({"clips_per_photo": {"test": 1}} | SETTINGS | change))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "manifest.json").exists()


def test_clips_of_another_degradation_are_refused(folder):
    with pytest.raises(InputError, match="expected degradation BI, got subsample"):
        find_clips("photo_motion", "test", folder, "BI")
