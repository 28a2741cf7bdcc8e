"""Windows, tiles and the released test procedure against recorded numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from vsrbench.evaluation.inference import restore_clip, to_uint8
from vsrbench.evaluation.tiling import centred_window, tile_spans

TABLES = json.loads((Path(__file__).parent / "tables.json").read_text())


def test_windows():
    for row in TABLES["windows"]:
        window = centred_window(row["centre"], row["num_frames"], row["length"])
        assert list(window.frames) == row["window"], row
        assert window.frames[window.output_indices[0]] == row["centre"]


@pytest.mark.parametrize("row", TABLES["tiles"], ids=lambda row: f"{row['height']}x{row['width']}")
def test_tiles(row):
    """Each output pixel comes from the same tile and place, and no tile comes twice."""
    rows, columns = tile_spans(row["height"], 64), tile_spans(row["width"], 64)
    assert len(rows) * len(columns) == row["distinct_tiles"]
    for spans, tiles, copies in (
        (rows, row["rows_lr"], row["rows_hr"]),
        (columns, row["cols_lr"], row["cols_hr"]),
    ):
        size = 4 * spans[-1].stop
        assert np.array_equal(sources(spans, size), recorded_sources(tiles, copies, size))


def sources(spans, size):
    """For each output pixel the tile it is taken from, by its first pixel, and the pixel in that tile."""
    table = np.full((size, 2), -1)
    for span in spans:
        inside = np.arange(256)[span.kept]
        table[span.first : span.last] = np.stack([np.full_like(inside, span.start), inside], axis=1)
    return table


def recorded_sources(tiles, copies, size):
    table = np.full((size, 2), -1)
    for (start, _), (first, last, source, _) in zip(tiles, copies, strict=True):
        table[first:last] = np.stack([np.full(last - first, start), source + np.arange(last - first)], axis=1)
    return table


def test_tiled_procedure(golden, network):
    lq = golden.array("in/tile_lrs_u8")[0].transpose(0, 2, 3, 1)
    (restored,) = restore_clip(network(2), lq, frames=[2])
    golden.assert_close(restored[None], "out/tiled_center_strided_ffn2", 2e-5, stride=3)


def test_rounding_to_8_bit(functions):
    rounded = to_uint8(functions["quantise/in"]).movedim(0, -1).numpy()
    assert np.array_equal(rounded, functions.array("quantise/out_rgb_u8"))
