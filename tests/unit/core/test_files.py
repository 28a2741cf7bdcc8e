"""What the system refuses to write or read ends in one line, and leaves nothing half-written."""

import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from vsrbench.core.config import ABLATIONS, load_variant
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, explain
from vsrbench.data.clips import write_frame
from vsrbench.data.manifest import read_manifest
from vsrbench.data.photo_motion import generate
from vsrbench.evaluation.inspect_network import read_inspection
from vsrbench.results import study_results


def vsrbench(*arguments, limit=None):
    """Run a command, with files of at most `limit` bytes."""
    return subprocess.run(
        [sys.executable, "-m", "vsrbench", *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )


def last_line(result) -> str:
    """The line that says what is wrong; there must be no traceback."""
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    return [line for line in result.stderr.splitlines() if "vsrbench: " in line][-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    clips = {split: 1 for split in ("train", "validation", "test")}
    generate(folder, seed=1, degradation="BI", clips_per_photo=clips, num_frames=3, size=64)
    return folder


def test_a_store_that_does_not_fit(made, tmp_path):
    index = tmp_path / "store" / "index.json"
    result = vsrbench(
        "store", "--manifest", made / "manifest.json", "--split", "test", "--index", index, limit=20000
    )
    said = last_line(result)
    assert f"vsrbench: {tmp_path}/store/." in said and "gt.npy: " in said and "start again" in said
    assert not index.exists() and not list(tmp_path.glob("store/[!.]*"))


def test_clips_that_do_not_fit(tmp_path):
    result = vsrbench(
        *("generate", "--folder", tmp_path / "made", "--degradation", "BI", "--seed", 1, "--size", 64),
        *("--num-frames", 3, "--clips-per-photo", "test=1"),
        limit=2000,
    )
    assert f"{tmp_path}/made/test/." in last_line(result)
    assert not (tmp_path / "made" / "manifest.json").exists()


def test_a_manifest_that_does_not_fit(tmp_path):
    (tmp_path / "clips" / "one").mkdir(parents=True)
    for t in range(3):
        write_frame(tmp_path / "clips" / "one" / f"{t}.png", np.full((32, 32, 3), t, np.uint8))
    arguments = ["verify", "--dataset", "folder", "--root", tmp_path / "clips", "--degradation", "BI"]
    out = tmp_path / "results" / "manifest.json"
    said = last_line(vsrbench(*arguments, "--manifest", out, limit=100))
    assert said.startswith(f"vsrbench: {out}: File too large; raise the limit on the size of files")
    assert not list((tmp_path / "results").iterdir())


def test_paths_that_lead_through_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path, said in {
        "file/a.txt": "file: File exists; correct",
        "file/b/a.txt": "b: Not a directory; correct",
    }.items():
        with pytest.raises(OSError) as error, atomic_write(tmp_path / path):
            pass
        assert said in explain(error.value)


def test_a_log_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    said = last_line(vsrbench("sync", tmp_path, "--log", tmp_path / "file" / "logs" / "sync.log"))
    assert (
        said == f"vsrbench: {tmp_path}/file/logs: Not a directory; correct the path: a part of it is a file"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "mine" / "a.txt") as partial:
        partial.write_text("a")
    assert explain(error.value).endswith("change its permissions, or choose another path")


def test_a_full_disk_names_the_file_that_was_to_be(tmp_path):
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert explain(error.value) == (
        f"{tmp_path}/a.txt: No space left on device; free space on that disk and start again"
    )
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_system_are_not_explained():
    assert explain(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None


@pytest.mark.parametrize(
    "read",
    [
        load_variant,
        read_manifest,
        study_results.read_rows,
        lambda path: read_inspection(path, "city"),
        lambda path: study_results._read(path, dict),
    ],
)
def test_nobody_is_told_to_delete_a_file_of_their_own(read):
    path = ABLATIONS / "fcsa.yaml"
    with pytest.raises(InputError) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ") and "; name " in said and "\n" not in said and "delete" not in said
