"""Frames, folders, manifests and rows come back as they were written, whatever they are called."""

import json
import math
import string
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, remove_partials, sha256
from vsrbench.core.metric_table import METRICS
from vsrbench.data.clips import read_frame, write_frame
from vsrbench.data.layout import numbered_frames
from vsrbench.data.manifest import digest, holds, read_manifest, write_manifest
from vsrbench.results.study_results import COLUMNS, read_rows

# What a file or folder may be called, and what is not taken for a frame number.
names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 100)
prefixes = st.text(string.ascii_letters + "_- äé5", max_size=8).map(lambda text: text + "_" * bool(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("properties")


@given(st.lists(names, min_size=1, max_size=3), st.binary(max_size=100))
def test_a_file_is_written_whole_under_any_name(folder, parts, content):
    path = Path(folder, "files", *(f"d{part}" for part in parts[:-1]), parts[-1])
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    assert path.read_bytes() == content
    assert [other for other in path.parent.iterdir() if "partial" in other.name] == []
    path.unlink()


@given(names)
def test_what_a_killed_writer_left_is_removed_and_nothing_else(name):
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(b"whole")
        left = []
        with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:
            left.append(partial)
            raise KeyboardInterrupt
        left[0].write_bytes(b"part")
        remove_partials(Path(folder))
        assert [other.name for other in Path(folder).iterdir()] == [name]


@given(names, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_frame_comes_back(folder, name, height, width, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    write_frame(folder / f"{name}.png", frame)
    assert np.array_equal(read_frame(folder / f"{name}.png"), frame)


@given(prefixes, st.integers(0, 2000), st.integers(1, 12), st.integers(0, 6))
def test_frames_are_in_the_order_of_their_numbers(prefix, first, count, digits):
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{prefix}{number:0{digits}d}.png") for number in range(first, first + count)]
        for path in reversed(paths):
            path.touch()
        assert numbered_frames(Path(folder)) == tuple(paths)


clip_entries = st.fixed_dictionaries(
    {
        "name": names,
        "split": st.sampled_from(["train", "test"]),
        "frames": st.integers(1, 100),
        "height": st.integers(4, 4000),
        "width": st.integers(4, 4000),
        "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
    }
)


@given(names, names, names, st.sampled_from(["BI", "BD"]), st.lists(clip_entries, max_size=3))
def test_a_manifest_comes_back_wherever_it_and_the_data_are_moved(dataset, data, moved, degradation, clips):
    with TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second", moved)
        write_manifest(first / "manifest.json", dataset, first / f"d{data}", degradation, clips, kind="vid4")
        second.parent.mkdir()
        first.rename(second)
        manifest = read_manifest(second / "manifest.json", degradation)
        assert manifest["clips"] == clips
        assert (manifest["dataset"], manifest["kind"]) == (dataset, "vid4")
        assert manifest["root"] == str(second / f"d{data}")


@given(st.dictionaries(names, st.binary(max_size=20), min_size=2, max_size=4), st.randoms())
def test_a_clips_digest_is_of_names_and_contents_in_any_order(files, random):
    with TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        entry = {"sha256": digest(paths)}
        random.shuffle(paths)
        assert holds(entry, paths)
        before = sha256(paths[0])
        paths[0].write_bytes(files[paths[0].name] + b"more")
        assert sha256(paths[0]) != before
        assert not holds(entry, paths)


# "NA" and "001" are good names of clips, and "null" is one of a study.
texts = st.sampled_from(["NA", "nan", "null", "001", "1e5", "True", 'a,"b"', "a b", "ü"]) | names
scores = st.floats(0, 100) | st.just(math.inf) | st.just(math.nan)
rows = st.fixed_dictionaries(
    {
        "study": texts,
        "variant": texts,
        "seed": st.integers(0, 2**32 - 1),
        "dataset": texts,
        "clip": texts,
        "frame": st.integers(0, 10**6),
        **dict.fromkeys(METRICS, scores),
        "mode": st.sampled_from(["tiled", "whole_frame"]),
        "tile_overlap": st.sampled_from(["", "4", "32"]),
        "precision": texts,
        "degradation": texts,
        "trained_on": texts | st.just(""),
    }
)


@given(st.lists(rows, min_size=1, max_size=4))
def test_rows_come_back_from_csv(folder, rows):
    path = folder / "rows.csv"
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False, float_format="%.6f")
    found = read_rows(path).to_dict("records")
    for row, back in zip(rows, found, strict=True):
        for key, value in row.items():
            if key in METRICS:
                assert back[key] == pytest.approx(value, abs=1e-6, nan_ok=True)
            else:
                assert back[key] == value, key


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_anything_else_is_refused_as_a_manifest_in_one_line(folder, text):
    path = folder / "manifest.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError, match="not a manifest") as error:
        read_manifest(path)
    assert "\n" not in str(error.value)
