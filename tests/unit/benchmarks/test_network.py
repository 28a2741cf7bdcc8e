"""The benchmark of the network at a size of seconds."""

import csv

import pytest
from tiny_training import MODEL

from vsrbench.benchmarks import network
from vsrbench.core.errors import InputError

TINY = {key: value for key, value in MODEL.items() if key not in ("num_frames", "feat_size")}


def test_measures_stand_in_one_table_with_their_plain_counterparts(tmp_path, capsys):
    names = ["whole_frame_float32", "step_bfloat16_activation_checkpointing", "tiled_float32"]
    network.compare(names, size=(64, 64), rounds=2, out=tmp_path / "bench.csv", **TINY)
    with open(tmp_path / "bench.csv", newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["plain_tiled", "tiled_float32", "whole_frame_float32", "plain_step", names[1]]
    for row in rows.values():
        assert float(row["fastest"]) <= float(row["seconds"]) <= float(row["slowest"])
        assert float(row["peak_gib"]) > 0
        assert '"processor"' in row["machine"]
    assert float(rows["plain_tiled"]["ratio"]) == float(rows["plain_step"]["ratio"]) == 1
    assert float(rows["whole_frame_float32"]["target"]) == 12
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)


def test_a_call_that_restores_several_frames_is_counted_by_the_frame(monkeypatch):
    monkeypatch.setattr(network.time, "perf_counter", iter([1.0, 7.0]).__next__)
    network._begin(lambda: iter([3]), retain_freed=False)
    assert network._seconds() == 2


def test_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown measure 'tiled' on cpu; expected one of tiled_float32, "):
        network.compare(["tiled"])
    with pytest.raises(InputError, match="on cpu"):
        network.compare(["step_bfloat16_compiled"])
