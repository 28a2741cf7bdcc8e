"""What the benchmarks compare does the same thing."""

import json

import numpy as np
import pandas as pd
import torch

from models.resize import imresize
from vsrbench.benchmarks import data, results_csv
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.store_frames import build_store


def test_the_plain_resize_gives_the_same_numbers():
    frame = np.random.default_rng(0).random((72, 128, 3))
    resized = imresize(torch.from_numpy(frame).movedim(-1, 0), 1 / 4).movedim(0, -1).numpy()
    assert np.abs(data.quarter_by_rows(frame) - resized).max() < 1e-12


def test_decoding_gives_the_crops_of_the_store(tmp_path, monkeypatch):
    for name, value in {"FRAMES": 6, "HEIGHT": 96, "WIDTH": 128}.items():
        monkeypatch.setattr(data, name, value)
    clip = data.write_clip(tmp_path)
    build_store([clip], tmp_path / "store")
    arguments = (range(1, 6), 3, 5, 16)
    stored = FrameStore(tmp_path / "store").crop(0, *arguments)
    for here, there in zip(stored, data.decode_crop(clip, *arguments), strict=True):
        assert np.array_equal(here, there[..., ::-1])


def test_the_table_names_machine_and_target(tmp_path):
    rows = results_csv.quantities("loading", {"store_megabytes": 290, "ratio": 12.5}, 8)
    results_csv.write(rows, tmp_path / "bench.csv")
    table = pd.read_csv(tmp_path / "bench.csv", keep_default_na=False, dtype=str)
    assert all(json.loads(machine)["processor"] for machine in table.pop("machine"))
    assert table.to_csv(index=False).splitlines() == [
        "measure,quantity,value,target",
        "loading,store_megabytes,290,",
        "loading,ratio,12.5,8",
    ]
