"""The published data sets: where their clips lie, and every fault that `verify` must find."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsrbench.core.errors import InputError
from vsrbench.data import layout
from vsrbench.data.clips import read_frame, write_frame
from vsrbench.data.datasets import LAYOUTS, find_clips, load_clips
from vsrbench.data.degradation import degrade
from vsrbench.data.registry import DATA_SETS, FOLDER, SCORABLE
from vsrbench.data.verification import verify

REFERENCE = Path(layout.CLIP_LIST).parent
SHARED = Path(__file__).parents[4] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs real clips in {SHARED}")

HEIGHT, WIDTH, FRAMES = 48, 64, 5


def write_clip(folder, frames, name="{:08d}.png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        write_frame(folder / name.format(t), frame)


def scene(seed=0, num_frames=FRAMES):
    """A textured picture sliding by 3 pixels a frame."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(
        rng.integers(0, 256, (30, 50, 3)).astype(np.uint8), (160, 96), interpolation=cv2.INTER_CUBIC
    )
    return np.stack([picture[:HEIGHT, 3 * t : 3 * t + WIDTH] for t in range(num_frames)])


@pytest.fixture
def vid4(tmp_path, monkeypatch):
    """A Vid4 of two small clips on disk, and the clip list that describes it."""
    rows = [f"vid4,{clip},test,{FRAMES},{WIDTH},{HEIGHT}" for clip in ("city", "walk", "calendar")]
    (tmp_path / "clips.csv").write_text("\n".join(["dataset,clip,split,frames,width,height", *rows]))
    monkeypatch.setattr(layout, "CLIP_LIST", tmp_path / "clips.csv")
    root = tmp_path / "data"
    for seed, clip in enumerate(("city", "walk")):
        write_clip(root / "Vid4" / "GT" / clip, scene(seed))
        write_clip(root / "Vid4" / "BIx4" / clip, degrade(scene(seed), "BI"))
    return root


def verified(root, dataset="vid4", degradation="BI"):
    manifest = root.parent / "results" / "manifest.json"
    verify(dataset, root, degradation, manifest)
    return json.loads(manifest.read_text())


def faults(root, dataset="vid4", degradation="BI"):
    """The lines of damage, of which there must be some, and no manifest."""
    with pytest.raises(InputError) as error:
        verified(root, dataset, degradation)
    assert not (root.parent / "results").exists()
    head, *lines = str(error.value).splitlines()
    if not lines:
        return [head]
    assert head == f"{root}: {len(lines)} problems in {dataset}; fix all of them:"
    return lines


def test_a_sound_subset_is_recorded_as_such(vid4):
    manifest = verified(vid4)
    assert [clip["name"] for clip in manifest["clips"]] == ["city", "walk"]
    assert manifest["subset"] == {"test": "2 of 4 clips"}
    assert manifest["degradation"] == "BI"
    for clip in manifest["clips"]:
        assert (clip["frames"], clip["height"], clip["width"]) == (FRAMES, HEIGHT, WIDTH)
        assert clip["lq"] == "shipped" and clip["largest_difference"] == 0 and len(clip["sha256"]) == 64
    assert verified(vid4) == manifest


def test_a_changed_frame_changes_the_digest_of_its_clip_only(vid4):
    before = {clip["name"]: clip["sha256"] for clip in verified(vid4)["clips"]}
    path = vid4 / "Vid4" / "GT" / "city" / "00000002.png"
    frame = read_frame(path)
    frame[3, 3] ^= 1
    write_frame(path, frame)
    after = {clip["name"]: clip["sha256"] for clip in verified(vid4)["clips"]}
    assert after["walk"] == before["walk"] and after["city"] != before["city"]


def skip_a_frame(root):
    folder = root / "Vid4" / "BIx4" / "city"
    for t in range(2, FRAMES - 1):
        shutil.copy(folder / f"{t + 1:08d}.png", folder / f"{t:08d}.png")
    return [f"BIx4/city/{t:08d}.png: not BI of {t:08d}.png" for t in range(2, FRAMES - 1)]


def replace_lq(root, lq):
    for t, frame in enumerate(lq):
        write_frame(root / "Vid4" / "BIx4" / "city" / f"{t:08d}.png", frame)
    return [f"BIx4/city/{t:08d}.png: not BI of" for t in range(FRAMES)]


def shift_the_phase(root):
    return replace_lq(root, degrade(np.roll(scene(), (1, 1), (1, 2)), "BI"))


def link_outside(root):
    path = root / "Vid4" / "GT" / "city" / "00000001.png"
    outside = path.rename(root.parent / "elsewhere.png")
    path.symlink_to(outside)
    return ["GT/city/00000001.png: a symbolic link to outside"]


def link_to_itself(root):
    path = root / "Vid4" / "GT" / "city" / "00000001.png"
    path.unlink()
    path.symlink_to(path)
    return ["GT/city/00000001.png: Too many levels of symbolic links; restore"]


def link_all_frames(root):
    folder = root / "Vid4" / "GT" / "city"
    elsewhere = folder.rename(root.parent / "elsewhere")
    folder.mkdir()
    for path in elsewhere.iterdir():
        (folder / path.name).symlink_to(path)
    return [f"GT/city/00000000.png: a symbolic link to outside {folder} ({FRAMES} in this clip); link the"]


def edit(path, change, said):
    """A trap: `change` applied to one file of the data set, and what must be said of it."""

    def plant(root):
        change(root / "Vid4" / path)
        return [f"{path}: {said}"]

    return plant


TRAPS = {
    "skipped frame": skip_a_frame,
    "shifted phase": shift_the_phase,
    "BD under BI": lambda root: replace_lq(root, degrade(scene(), "BD")),
    "subsampled under BI": lambda root: replace_lq(root, degrade(scene(), "subsample")),
    "link that leaves the folder": link_outside,
    "link to itself": link_to_itself,
    "frames that are links": link_all_frames,
    "missing in the middle": edit("GT/city/00000002.png", Path.unlink, "No such file or directory; restore"),
    "missing at the end": edit("GT/city/00000004.png", Path.unlink, "No such file or directory; restore"),
    "missing LQ": edit("BIx4/walk/00000003.png", Path.unlink, "No such file or directory; restore"),
    "one frame more": edit(
        "GT/city/00000005.png",
        lambda path: write_frame(path, scene()[0]),
        "not a frame of the data set",
    ),
    "truncated": edit(
        "BIx4/walk/00000000.png",
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        "truncated PNG; copy",
    ),
    "not an image": edit(
        "GT/walk/00000001.png", lambda path: path.write_text("x"), "not a PNG; store frames"
    ),
    "grey": edit(
        "GT/walk/00000001.png",
        lambda path: cv2.imwrite(str(path), scene()[0, ..., 0]),
        "8-bit grey PNG; convert",
    ),
    "16 bit": edit(
        "GT/walk/00000001.png",
        lambda path: cv2.imwrite(str(path), scene()[0].astype(np.uint16) * 257),
        "16-bit RGB PNG; convert",
    ),
    "mixed sizes": edit(
        "GT/walk/00000003.png",
        lambda path: write_frame(path, scene()[0][:40]),
        "expected 64x48, got 64x40",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_is_named_in_one_line(vid4, trap):
    expected = TRAPS[trap](vid4)
    found = faults(vid4)
    assert len(found) == len(expected), found
    for line, said in zip(sorted(found), expected, strict=True):
        assert line.startswith(str(vid4 / "Vid4" / said.split(":")[0])) and said in line, line


def test_all_damage_is_reported_at_once(vid4):
    expected = [
        line
        for trap in ("missing in the middle", "truncated", "not an image", "link that leaves the folder")
        for line in TRAPS[trap](vid4)
    ]
    found = faults(vid4)
    assert len(found) == 4 and all(any(said in line for line in found) for said in expected)


@pytest.mark.parametrize("folder", ["Vid4", "Vid4/GT", "Vid4/GT/city"])
def test_a_linked_folder_is_the_same_data(vid4, folder):
    before = verified(vid4)
    (vid4 / folder).symlink_to((vid4 / folder).rename(vid4.parent / "shared"))
    assert verified(vid4) == before


@pytest.mark.parametrize("name", ["../../../elsewhere", "{root}/../elsewhere"])
def test_a_clip_whose_name_leads_elsewhere_is_refused(vid4, name):
    write_clip(vid4.parent / "elsewhere", scene())
    with open(layout.CLIP_LIST, "a") as file:
        file.write(f"\nvid4,{name.format(root=vid4)},test,{FRAMES},{WIDTH},{HEIGHT}")
    said = "elsewhere: lies outside .*; correct the clip's name in the data set's list"
    assert any(re.search(said, line) for line in faults(vid4, degradation="BD"))


def test_an_unfinished_clip_is_no_subset(vid4):
    for t in range(3, FRAMES):
        (vid4 / "Vid4" / "GT" / "walk" / f"{t:08d}.png").unlink()
    assert len(faults(vid4)) == 2


def test_missing_data_is_said_with_how_to_get_it(tmp_path):
    for dataset in [name for name, entry in DATA_SETS.items() if not entry.generated]:
        with pytest.raises(InputError, match=r"no such folder; get .* unpack") as error:
            verify(dataset, tmp_path, "BI", tmp_path / "manifest.json")
        assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "said"), [
    (("vid5", "test", "BI"), "unknown data set 'vid5'; expected one of photo_motion, permuted_cells, reds,"),
    (("vid4", "train", "BI"), "unknown split of vid4 'train'; expected one of test"),
    (("vid4", "test", "bicubic"), "unknown degradation 'bicubic'; expected one of BI, BD, BD_DUF, subsample"),
])  # fmt: skip
def test_unknown_names_are_refused(vid4, arguments, said):
    dataset, split, degradation = arguments
    with pytest.raises(InputError, match=said):
        find_clips(dataset, split, vid4, degradation)


def test_every_published_data_set_says_what_a_forecast_needs():
    scored = {name: DATA_SETS[name] for name in SCORABLE if not DATA_SETS[name].generated}
    assert all(entry.scored for entry in scored.values())
    assert {name for name, entry in DATA_SETS.items() if entry.headline == "psnr_y"} == {*scored} - {"reds4"}


def test_every_data_set_has_a_known_layout():
    assert {entry.layout for entry in (*DATA_SETS.values(), FOLDER)} == set(LAYOUTS)
    with pytest.raises(InputError, match="unknown data set 'vid5'"):
        verify("vid5", Path(), "BI", Path("manifest.json"))


def test_a_manifest_leads_back_to_its_clips_wherever_both_are_moved(vid4, tmp_path):
    verified(vid4)
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    shutil.rmtree(vid4)
    clips = load_clips(moved / "results" / "manifest.json", "test", "BI")
    assert [clip.name for clip in clips] == ["city", "walk"]
    assert np.array_equal(clips[0].read()[1], scene())


def test_frames_that_changed_since_they_were_verified_are_refused(vid4):
    """The ground truth and the low-quality frames, also by a pair that would pass verification."""
    verified(vid4)
    manifest = vid4.parent / "results" / "manifest.json"
    for name, frames in (("BIx4", degrade(scene(5), "BI")), ("GT", scene(5))):
        write_frame(vid4 / "Vid4" / name / "walk" / "00000002.png", frames[2])
        with pytest.raises(InputError) as error:
            load_clips(manifest, "test")
        assert str(error.value) == (
            f"{vid4}/Vid4/GT/walk: clip walk has changed since {manifest} was written; "
            "restore the clip, or move the manifest away and run the study again"
        )
    verified(vid4)
    assert len(load_clips(manifest, "test")) == 2


def test_a_frame_that_is_missing_since_is_named(vid4):
    verified(vid4)
    (vid4 / "Vid4" / "GT" / "walk" / "00000002.png").unlink()
    with pytest.raises(InputError, match=r"GT/walk/00000002\.png: No such file or directory; restore"):
        load_clips(vid4.parent / "results" / "manifest.json", "test")


def test_a_copy_that_lost_its_times_is_the_same_data(vid4):
    verified(vid4)
    for path in vid4.rglob("*.png"):
        os.utime(path, (0, 0))
    assert len(load_clips(vid4.parent / "results" / "manifest.json", "test")) == 2


def test_a_manifest_of_another_degradation_is_refused(vid4):
    verified(vid4)
    manifest = vid4.parent / "results" / "manifest.json"
    with pytest.raises(InputError, match="expected degradation BD, got BI") as error:
        load_clips(manifest, "test", "BD")
    assert str(error.value).startswith(str(manifest))


def test_a_manifest_that_the_data_no_longer_fit_is_refused(vid4):
    verified(vid4)
    write_clip(vid4 / "Vid4" / "GT" / "calendar", scene(3))
    with pytest.raises(InputError, match="no longer describes"):
        load_clips(vid4.parent / "results" / "manifest.json", "test")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"root": 3, "degradation": "BI"}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="not a manifest; name one that"):
        load_clips(tmp_path / "manifest.json", "test")


def test_lq_of_a_degradation_that_is_not_shipped_is_made(vid4):
    clip = find_clips("vid4", "test", vid4, "BD")[0]
    assert not clip.lq
    assert np.array_equal(clip.read()[0], degrade(scene(), "BD"))
    assert verified(vid4, degradation="BD")["clips"][0]["lq"] == "made"


def test_clip_list_is_the_published_protocol():
    with open(REFERENCE / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    frames = {
        (row["dataset"], row["clip"]): (int(row["frames"]), int(row["width"]), int(row["height"]))
        for row in rows
    }
    assert {clip: frames["vid4", clip] for clip in ("calendar", "city", "foliage", "walk")} == {
        "calendar": (41, 720, 576),
        "city": (34, 704, 576),
        "foliage": (49, 720, 480),
        "walk": (47, 720, 480),
    }
    reds = {
        split: [row["clip"] for row in rows if (row["dataset"], row["split"]) == ("reds", split)]
        for split in ("train", "test")
    }
    assert reds["test"] == ["000", "011", "015", "020"] and len(reds["train"]) == 266
    assert sorted(reds["test"] + reds["train"]) == [f"{number:03d}" for number in range(270)]
    assert all(frames["reds", clip] == (100, 1280, 720) for clip in reds["train"] + reds["test"])
    assert sum(dataset == "udm10" for dataset, _ in frames) == 10
    unclassified = (REFERENCE / "vimeo90k_unclassified.txt").read_text().split()
    parts = [DATA_SETS[f"vimeo90k_{motion}"].splits["test"] for motion in ("fast", "medium", "slow")]
    assert sum(parts) + len(set(unclassified)) == DATA_SETS["vimeo90k"].splits["test"]


@pytest.mark.parametrize("base", ["", "REDS", "train", "REDS/train"])
def test_reds_is_found_as_its_archives_unpack(tmp_path, base):
    train = tmp_path / base
    val = tmp_path / base.replace("train", "val")
    for folder in (train / "train_sharp" / "003", train / "train_sharp" / "011", val / "val_sharp" / "029"):
        folder.mkdir(parents=True)
    (train / "train_sharp_bicubic" / "X4").mkdir(parents=True)
    clips = {split: find_clips("reds", split, tmp_path, "BI") for split in ("train", "validation")}
    assert [clip.name for clip in clips["train"]] == ["003", "269"]
    assert clips["train"][0].lq[7] == train / "train_sharp_bicubic" / "X4" / "003" / "00000007.png"
    assert clips["train"][1].gt[99] == val / "val_sharp" / "029" / "00000099.png"
    assert [clip.name for clip in clips["validation"]] == ["011"]
    assert [(clip.name, clip.dataset) for clip in find_clips("reds4", "test", tmp_path, "BI")] == [
        ("011", "reds4")
    ]


def vimeo(root):
    """The official lists by their counts only, and three clips of them."""
    septuplets = root / "vimeo_septuplet"
    for clip in ("00001/0001", "00002/0001", "00002/0400"):
        for t in range(1, 8):
            (septuplets / "sequences" / clip).mkdir(parents=True, exist_ok=True)
            write_frame(septuplets / "sequences" / clip / f"im{t}.png", np.zeros((256, 448, 3), np.uint8))
    names = {"trainlist": ("00001", 64612), "testlist": ("00002", 7824), "fast_testset": ("00002", 1225)}
    for name, (folder, count) in names.items():
        clips = [f"{folder}/{number:04d}" for number in range(1, count + 1)]
        (septuplets / f"sep_{name}.txt").write_text("\n".join(clips) + "\n")
    return septuplets


def test_vimeo_follows_the_official_lists(tmp_path):
    vimeo(tmp_path)
    named = {
        (dataset, split): [clip.name for clip in find_clips(dataset, split, tmp_path, "BI")]
        for dataset, split in [("vimeo90k", "train"), ("vimeo90k", "validation"), ("vimeo90k", "test")]
        + [("vimeo90k_fast", "test")]
    }
    assert named["vimeo90k", "train"] == ["00001/0001"]
    assert named["vimeo90k", "validation"] == ["00002/0001"]
    assert named["vimeo90k", "test"] == named["vimeo90k_fast", "test"] == ["00002/0001", "00002/0400"]
    clip = find_clips("vimeo90k", "test", tmp_path, "BI")[0]
    assert clip.scored == (3,) and clip.gt[3].name == "im4.png" and clip.num_frames == 7


def test_vimeo_is_verified_under_its_limits(tmp_path):
    septuplets = vimeo(tmp_path / "data")
    manifest = verified(tmp_path / "data", "vimeo90k")
    assert manifest["subset"] == {
        "train": "1 of 64612 clips",
        "validation": "1 of 20 clips",
        "test": "2 of 7824 clips",
    }
    assert DATA_SETS["vimeo90k"].missing(tmp_path / "data") is None
    assert DATA_SETS["vimeo90k_slow"].missing(tmp_path / "data") is not None
    (septuplets / "sep_testlist.txt").write_text("00002/0001\n")
    with pytest.raises(InputError, match=r"sep_testlist\.txt: expected 7824 clips, got 1"):
        find_clips("vimeo90k", "test", tmp_path / "data", "BI")


def test_folder_takes_frame_folders_and_videos(tmp_path):
    root = tmp_path / "data"
    write_clip(root / "frames", scene(), "im{}.png")
    writer = cv2.VideoWriter(str(root / "film.avi"), cv2.VideoWriter_fourcc(*"FFV1"), 25, (WIDTH, HEIGHT))
    for frame in scene(1):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    (root / "notes.txt").write_text("not a clip")
    film, frames = find_clips("folder", "test", root, "BI")
    assert (film.name, frames.name) == ("film.avi", "frames") and film.num_frames == FRAMES
    assert np.abs(film.read()[1].astype(int) - scene(1)).max() <= 3  # FFV1 stores YUV
    assert np.array_equal(film.read([3, 1])[1], film.read()[1][[3, 1]])
    assert np.array_equal(frames.read()[0], degrade(scene(), "BI"))
    assert len(verified(root, "folder")["clips"]) == 2


def test_a_folder_has_the_name_that_the_study_gives_it(tmp_path):
    write_clip(tmp_path / "clips" / "one", scene())
    for name in ("mine", "yours"):
        manifest = tmp_path / name / "manifest.json"
        verify("folder", tmp_path / "clips", "BI", manifest, name=name)
        (clip,) = load_clips(manifest, "test")
        assert (clip.dataset, clip.name) == (name, "one")
    (tmp_path / "clips" / "one" / "00000001.png").write_text("x")
    (tmp_path / "clips" / "one" / "00000003.png").write_text("x")
    with pytest.raises(InputError, match="clips: 2 problems in mine; fix all of them:\n"):
        verify("folder", tmp_path / "clips", "BI", tmp_path / "other.json", name="mine")


def test_workers_find_the_same(vid4):
    one = verified(vid4)
    verify("vid4", vid4, "BI", vid4.parent / "results" / "other.json", workers=3)
    assert json.loads((vid4.parent / "results" / "other.json").read_text()) == one


def test_folder_notices_a_gap_and_a_file_that_is_no_video(tmp_path):
    root = tmp_path / "data"
    write_clip(root / "clip", scene(), "frame_{:03d}.png")
    (root / "clip" / "frame_002.png").unlink()
    assert [line.split(":")[0] for line in faults(root, "folder")] == [str(root / "clip" / "frame_002.png")]
    (root / "film.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"film\.mp4: not a video"):
        find_clips("folder", "test", root, "BI")


@pytest.mark.parametrize("numbers", [[0, 2, 4, 6], [1690000000000000, 1690000000033333], [0, 10**30]])
def test_frames_that_are_not_numbered_one_by_one_are_told_in_one_line(tmp_path, numbers):
    write_clip(tmp_path / "clip", [])
    for number in numbers:
        (tmp_path / "clip" / f"{number}.png").touch()
    with pytest.raises(InputError, match=rf"clip: frames \d+ to {numbers[-1]} are .* number them 0, 1, 2"):
        find_clips("folder", "test", tmp_path, "BI")


def test_folder_holds_pairs_of_its_own(tmp_path):
    root = tmp_path / "data"
    write_clip(root / "GT" / "clip", scene())
    write_clip(root / "BIx4" / "clip", degrade(scene(), "BI")[:-1])
    assert faults(root, "folder") == [f"{root / 'BIx4' / 'clip'}: 4 frames, but 5 of ground truth"]


@needs_shared
def test_city_is_the_published_pair():
    clips = find_clips("vid4", "test", SHARED, "BI")
    assert [(clip.name, clip.num_frames) for clip in clips] == [("city", 34)]
    lq, gt = clips[0].read()
    assert lq.shape == (34, 144, 176, 3) and gt.shape == (34, 576, 704, 3)
    assert np.array_equal(degrade(gt[::11], "BI"), lq[::11])


@needs_shared
def test_the_foliage_excerpt_is_a_folder_and_not_vid4(tmp_path):
    manifest = tmp_path / "manifest.json"
    verify("folder", SHARED / "Vid4_excerpt", "BI", manifest)
    assert json.loads(manifest.read_text())["clips"][0]["largest_difference"] == 0
    shutil.copytree(SHARED / "Vid4_excerpt", tmp_path / "Vid4")
    with pytest.raises(InputError, match="82 problems in vid4"):  # 41 of 49 frames, in both folders
        verify("vid4", tmp_path, "BI", tmp_path / "other.json")
