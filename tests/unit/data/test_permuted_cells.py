"""The positive control: what it hides can be found elsewhere in the window, and only there."""

import json

import numpy as np
import pytest

from vsrbench.core.errors import InputError
from vsrbench.data.datasets import load_clips
from vsrbench.data.permuted_cells import CLIPS, LUMA, draw_frames, generate

EDGE = 16  # of a cell in GT pixels


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    generate(folder, seed=1, degradation="BI")
    return load_clips(folder / "manifest.json", "test")


def cells(frame: np.ndarray) -> np.ndarray:
    """(9, edge, edge, 3) from a frame of 3 x 3 cells."""
    edge = frame.shape[0] // 3
    return np.stack(
        [
            frame[r : r + edge, c : c + edge]
            for r in range(0, 3 * edge, edge)
            for c in range(0, 3 * edge, edge)
        ]
    )


def is_coloured(cell: np.ndarray) -> bool:
    return bool(np.ptp(cell.astype(int), axis=-1).max() > 12)


def test_each_cell_is_in_every_frame_and_coloured_in_one_of_them():
    gt, shown = draw_frames(np.random.default_rng(0))
    assert gt.shape == shown.shape == (3, 48, 48, 3) and gt.dtype == shown.dtype == np.uint8
    number = 0
    for cell in cells(gt[0]):
        assert is_coloured(cell)
        for t in range(3):
            assert sum(np.array_equal(cell, other) for other in cells(gt[t])) == 1
        places = [
            next(i for i, other in enumerate(cells(gt[t])) if np.array_equal(cell, other)) for t in range(3)
        ]
        coloured = [is_coloured(cells(shown[t])[place]) for t, place in enumerate(places)]
        assert sum(coloured) == 1
        number += 1
    assert number == 9
    difference = (gt.astype(float) - shown) @ LUMA
    assert np.abs(difference).max() < 1.5  # rounding: what is shown lacks colour and nothing else


def test_frames_are_ordered_independently():
    gt, _ = draw_frames(np.random.default_rng(1))
    assert not np.array_equal(gt[0], gt[1]) and not np.array_equal(gt[1], gt[2])


def restore_by_copying(lq: np.ndarray, reach: str) -> np.ndarray:
    """The middle LQ frame with each grey cell's colour taken from its most similar coloured cell."""
    found = cells(lq[1]).astype(float)
    candidates = np.concatenate([cells(lq[t]) for t in (0, 2)]).astype(float)
    places = np.tile(np.arange(9), 2)
    for index, cell in enumerate(found):
        if is_coloured(cell):
            continue
        distance = np.abs((candidates - cell) @ LUMA).mean((1, 2))
        distance[[not is_coloured(candidate) for candidate in candidates]] = np.inf
        if reach == "same place":
            distance[places != index] = np.inf
        if np.isfinite(distance).any():
            found[index] = candidates[distance.argmin()]
    return found


def test_copying_from_anywhere_restores_the_colours_and_from_the_same_place_does_not(clips):
    errors = {"anywhere": [], "same place": []}
    for clip in clips:
        lq, gt = clip.read()
        truth = cells(gt[1, 1::4, 1::4]).astype(float)
        for reach, found in errors.items():
            found.append(np.mean((restore_by_copying(lq, reach) - truth) ** 2))
    anywhere, same = (10 * np.log10(255**2 / np.mean(errors[reach])) for reach in errors)
    assert anywhere > 21 and same < 18  # in dB; what is left of the first is blur across the cells' edges


def test_clips_are_those_of_their_number_and_seed(clips, tmp_path):
    assert len(clips) == CLIPS["test"] and {clip.scored for clip in clips} == {(1,)}
    assert {clip.flow for clip in clips} == {None}
    generate(tmp_path / "a", seed=1, degradation="BI")
    again = load_clips(tmp_path / "a" / "manifest.json", "test")
    assert all(np.array_equal(a.read()[1], b.read()[1]) for a, b in zip(clips, again, strict=True))
    seen = {clip.read()[1].tobytes() for clip in again}
    assert len(seen) == CLIPS["test"]
    digests = [
        entry["sha256"] for entry in json.loads((tmp_path / "a" / "manifest.json").read_text())["clips"]
    ]
    assert len(set(digests)) == sum(CLIPS.values())  # no clip is in two splits
    generate(tmp_path / "b", seed=2, degradation="BI")
    other = load_clips(tmp_path / "b" / "manifest.json", "test")
    assert not seen & {clip.read()[1].tobytes() for clip in other}


def test_an_unknown_degradation_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown degradation 'blur'; expected one of BI"):
        generate(tmp_path, seed=1, degradation="blur")
