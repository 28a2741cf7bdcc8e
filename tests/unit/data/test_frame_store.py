"""The frame store gives back what was put in, survives being killed, and notices damage."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vsrbench.core.errors import InputError
from vsrbench.data.datasets import find_clips
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.photo_motion import generate
from vsrbench.data.store_frames import build_store, store_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photo_motion")
    generate(folder, seed=1, degradation="BI", clips_per_photo={"validation": 2}, num_frames=5, size=64)
    return folder


@pytest.fixture(scope="module")
def clips(folder):
    return find_clips("photo_motion", "validation", folder, "BI")


def copy_of_store(clips, folder):
    build_store(clips, folder)
    return folder


def test_crops_are_those_of_the_clips(clips, folder, tmp_path):
    store_split(folder / "manifest.json", "validation", tmp_path / "index.json")
    store = FrameStore(tmp_path, digests=True)
    assert [clip.name for clip in store.clips] == [clip.name for clip in clips]
    assert store.has_flows and store.degradation == "BI"
    for number, clip in enumerate(clips):
        stored = store.clips[number]
        assert (stored.num_frames, stored.height, stored.width) == (5, 16, 16)
        frames, rows, columns = [3, 1, 2], slice(4, 12), slice(7, 15)
        lq, gt = clip.read(frames)
        crop_lq, crop_gt = store.crop(number, frames, top=4, left=7, size=8)
        assert np.array_equal(crop_lq, lq[:, rows, columns])
        assert np.array_equal(crop_gt, gt[:, 16:48, 28:60])
        for whole, part in zip(clip.read_flows(), store.crop_flows(number, frames, 4, 7, 8), strict=True):
            assert part.dtype == np.float32
            assert np.array_equal(part, whole[frames][:, :, rows, columns])


def test_second_build_writes_nothing_and_a_changed_source_is_stored_anew(clips, tmp_path):
    copy_of_store(clips, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    copy_of_store(clips, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == written
    os.utime(clips[0].gt[0])
    copy_of_store(clips, tmp_path)
    renewed = {path.parent.name for path, mtime in written.items() if path.stat().st_mtime_ns != mtime}
    assert renewed == {clips[0].name}


def test_parallel_build_is_the_same(clips, tmp_path):
    build_store(clips, tmp_path / "one")
    build_store(clips, tmp_path / "two", workers=3)
    assert (tmp_path / "one" / "index.json").read_text() == (tmp_path / "two" / "index.json").read_text()


def test_a_killed_build_is_no_store_and_goes_on(folder, clips, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from vsrbench.data import store_frames as s\n"
        "read = s.Clip.read\n"
        "def slowly(clip, frames): time.sleep(0.2); return read(clip, frames)\n"
        "s.Clip.read = slowly\n"
        "s.store_split(Path(sys.argv[1]), 'validation', Path(sys.argv[2]))"
    )
    arguments = [folder / "manifest.json", tmp_path / "index.json"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("[!.]*")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match="no complete frame store"):
        FrameStore(tmp_path)
    first = next(tmp_path.glob("[!.]*"))
    kept = first.stat().st_mtime_ns
    copy_of_store(clips, tmp_path)
    assert first.stat().st_mtime_ns == kept
    assert len(FrameStore(tmp_path, digests=True).clips) == len(clips)


def shorten(path):
    with open(path, "rb+") as file:
        file.truncate(path.stat().st_size - 1)


def change_a_byte(path):
    with open(path, "rb+") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(("damage", "digests", "said"), [
    (shorten, False, "expected .* bytes, got"),
    (lambda path: path.unlink(), False, "No such file"),
    (change_a_byte, True, "contents changed since"),
])  # fmt: skip
def test_damage_is_noticed_on_opening_and_repaired_by_building(clips, tmp_path, damage, digests, said):
    copy_of_store(clips, tmp_path)
    path = tmp_path / clips[1].name / "gt.npy"
    damage(path)
    with pytest.raises(InputError, match=said) as error:
        FrameStore(tmp_path, digests=digests)
    assert str(error.value).startswith(f"{path}: ")
    copy_of_store(clips, tmp_path)
    FrameStore(tmp_path, digests=True)


def test_an_index_that_is_none_is_refused(tmp_path):
    for text in ("{", "[]", '{"clips": []}', json.dumps({"clips": [{"name": "a"}]})):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(InputError, match="build the store again"):
            FrameStore(tmp_path)


def test_one_store_holds_one_degradation(clips, tmp_path):
    other = type(clips[0])(**(vars(clips[1]) | {"degradation": "BD"}))
    with pytest.raises(InputError, match=r"one degradation, got \['BD', 'BI'\]"):
        build_store([clips[0], other], tmp_path)
