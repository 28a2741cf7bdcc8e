"""The benchmark of the network at a size of seconds."""

import csv

import pytest

from models import ModelConfig, build_model
from vsrbench import bench_network
from vsrbench.errors import InputError

TINY = dict(
    num_feat=4,
    depth=1,
    num_extract_blocks=1,
    num_reconstruct_blocks=1,
    num_feed_forward_blocks=1,
    flow_num_feat=4,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    def network(norm="spatial_affine", **sizes):
        return build_model(ModelConfig(norm=norm, **TINY | sizes))

    monkeypatch.setattr(bench_network, "DEVICE", "cpu")
    monkeypatch.setattr(bench_network, "CLIPS_A_STEP", 1)
    monkeypatch.setattr(bench_network, "_network", network)
    monkeypatch.setattr(bench_network, "_in_own_process", lambda call, *arguments: call(*arguments))


def test_measures_stand_in_one_table_with_their_plain_counterparts(tmp_path, capsys):
    names = ["whole_frame_float32", "step_bfloat16_recompute", "tiled_float32"]
    bench_network.compare(names, size=(64, 64), rounds=2, out=tmp_path / "bench.csv")
    with open(tmp_path / "bench.csv", newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["plain_tiled", "tiled_float32", "whole_frame_float32", "plain_step", names[1]]
    for row in rows.values():
        assert float(row["fastest"]) <= float(row["seconds"]) <= float(row["slowest"])
        assert '"processor"' in row["machine"]
    assert float(rows["plain_tiled"]["ratio"]) == float(rows["plain_step"]["ratio"]) == 1
    assert float(rows["whole_frame_float32"]["target"]) == 12
    assert float(rows["plain_step"]["peak_gib"]) > 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)


def test_whole_frames_are_counted_three_a_window():
    seconds = {"plain_tiled": [6.0, 8.0], "whole_frame_float32": [3.0, 6.0]}
    plain, whole = bench_network._rows(seconds, "frame", {"whole_frame_float32": 3})
    assert (plain["seconds"], whole["seconds"], whole["fastest"]) == (7.0, 1.5, 1.0)
    assert whole["ratio"] == pytest.approx(7 / 1.5)


def test_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no measure 'tiled' on a cpu; there are tiled_float32, "):
        bench_network.compare(["tiled"])
    with pytest.raises(InputError, match="on a cpu"):
        bench_network.compare(["step_bfloat16_compiled"])
