"""The split of a person's own clips: by clip, in the stated shares, and never drawn twice."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_video import moving_gradient, write_small_video

from vsrbench.core.errors import InputError
from vsrbench.data.datasets import load_clips
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.split import Shares, freeze_split
from vsrbench.data.store_frames import FRAMES_AT_ONCE, store_split
from vsrbench.data.verification import verify

NAMES = [f"clip_{number:02d}" for number in range(20)]
SHARES = Shares(seed=1, validation=0.1, test=0.2)


def counted(splits):
    sides = list(splits.values())
    return {side: sides.count(side) for side in ("train", "validation", "test")}


def test_shares_are_those_that_were_stated(tmp_path):
    splits = freeze_split(tmp_path / "split.json", NAMES, SHARES)
    assert list(splits) == NAMES and counted(splits) == {"train": 14, "validation": 2, "test": 4}
    kept = json.loads((tmp_path / "split.json").read_text())
    assert kept == {"seed": 1, "validation": 0.1, "test": 0.2, "clips": splits}


def test_the_seed_decides_and_the_order_of_the_clips_does_not(tmp_path):
    first = freeze_split(tmp_path / "a.json", NAMES, SHARES)
    assert freeze_split(tmp_path / "b.json", NAMES[::-1], SHARES) == first
    assert freeze_split(tmp_path / "c.json", NAMES, replace(SHARES, seed=2)) != first


@given(st.sets(st.text("abc", min_size=1)), st.sets(st.text("abc", min_size=1), min_size=3))
def test_no_clip_changes_sides(tmp_path_factory, later, names):
    path = tmp_path_factory.mktemp("split") / "split.json"
    first = freeze_split(path, names, SHARES)
    assert {"train", "validation", "test"} == set(first.values())
    second = freeze_split(path, names | later, SHARES)
    assert second == dict.fromkeys(sorted(later), "train") | first
    assert freeze_split(path, later, SHARES) == {name: second[name] for name in later}


@pytest.mark.parametrize(
    ("names", "shares", "said"),
    [
        (NAMES[:2], SHARES, "2 clips, .* takes 1 for validation, 1 for test, leaves? none for training"),
        (NAMES[:1], replace(SHARES, test=0.0), "1 clips, .* takes 1 for validation"),
    ],
)
def test_too_few_clips_are_refused(tmp_path, names, shares, said):
    with pytest.raises(InputError, match=rf"^mine: [^\n]*{said}[^\n]*$"):
        freeze_split(tmp_path / "mine" / "split.json", names, shares)
    assert not (tmp_path / "mine").exists()


def test_a_share_of_none_takes_none(tmp_path):
    splits = freeze_split(tmp_path / "split.json", NAMES[:2], replace(SHARES, test=0.0))
    assert counted(splits) == {"train": 1, "validation": 1, "test": 0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a split"),
        ("[]", "not a split"),
        ('{"seed": 1, "validation": 0.1, "test": 0.2, "clips": {"clip_00": "none"}}', "not a split"),
        ('{"seed": 3, "validation": 0.1, "test": 0.2, "clips": {}}', "made with split {'seed': 3, .* not {"),
    ],
)
def test_another_split_is_refused_and_kept(tmp_path, text, said):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"^{path}: {said}[^\n]*$"):
        freeze_split(path, NAMES, SHARES)
    assert path.read_text() == text


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        frames = moving_gradient(num_frames=FRAMES_AT_ONCE + 3 + number, height=64, width=72)
        write_small_video(folder / f"{number}.mp4", frames)
    return folder


def test_a_split_folder_gives_each_clip_once(videos, tmp_path):
    manifest = tmp_path / "mine" / "manifest.json"
    verify("folder", videos, "BI", manifest, name="mine", validation_share=0.1, test_share=0.1)
    split = json.loads(manifest.with_name("split.json").read_text())["clips"]
    found = {side: load_clips(manifest, side) for side in ("train", "validation", "test")}
    assert {clip.name: side for side, clips in found.items() for clip in clips} == split
    assert all(clip.dataset == "mine" and clip.split == side for side in found for clip in found[side])
    write_small_video(videos / "later.mp4", moving_gradient(height=64, width=72))
    with pytest.raises(InputError, match=r"manifest.json: no longer describes .*videos; move it away"):
        load_clips(manifest, "test")
    verify("folder", videos, "BI", manifest, name="mine", validation_share=0.1, test_share=0.1)
    (test,), train = load_clips(manifest, "test"), load_clips(manifest, "train")
    assert split[test.name] == "test" and "later.mp4" in {clip.name for clip in train} and len(train) == 2


def test_a_video_is_stored_a_few_frames_at_a_time(videos, tmp_path):
    manifest = tmp_path / "mine" / "manifest.json"
    verify("folder", videos, "BI", manifest, name="mine", validation_share=0.1)
    store_split(manifest, "train", tmp_path / "store" / "index.json")
    store = FrameStore(tmp_path / "store", digests=True)
    for number, clip in enumerate(load_clips(manifest, "train")):
        lq, gt = clip.read()
        frames = list(range(clip.num_frames))
        stored_lq, stored_gt = store.crop(number, frames, top=0, left=0, size=16)
        assert (stored_lq == lq[:, :16, :16]).all() and (stored_gt == gt[:, :64, :64]).all()
