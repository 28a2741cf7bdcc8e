"""What holds for degradations, tiles, windows and augmentation whatever the sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsrbench.data.degradation import DEGRADATIONS, degrade
from vsrbench.data.training_set import Window, turn
from vsrbench.evaluation.tiling import centred_window, consecutive_windows, tile_spans, whole_span

seeds = st.integers(0, 2**32 - 1)
edges = st.integers(2, 12).map(lambda edge: 4 * edge)


@st.composite
def tilings(draw) -> tuple[int, int, int | None]:
    """Size of an axis, tile, and an even overlap or the default."""
    tile = 4 * draw(st.integers(1, 20))
    size = tile + draw(st.integers(0, 150))
    return size, tile, draw(st.none() | st.integers(0, tile // 2 - 1).map(lambda half: 2 * half))


@given(tilings())
def test_tiles_give_every_pixel_once_and_keep_half_an_overlap_from_their_edges(tiling):
    size, tile, overlap = tiling
    spans = tile_spans(size, tile, overlap)
    kept = np.concatenate([np.arange(span.first, span.last) for span in spans])
    assert np.array_equal(kept, np.arange(4 * size))
    margin = 4 * ((tile // 2 if overlap is None else overlap) // 2)
    for span in spans:
        assert span.start >= 0 and span.stop == span.start + tile <= size
        assert span.kept.stop - span.kept.start == span.last - span.first > 0
        assert span.kept.start >= margin or span.first == 0
        assert span.kept.stop <= 4 * tile - margin or span.last == 4 * size


@given(st.integers(1, 200), st.integers(1, 16))
def test_a_whole_axis_is_filled_up_to_whole_patches(size, patch):
    span = whole_span(size, patch)
    assert span.start == 0 and size <= span.stop < size + patch and span.stop % patch == 0
    assert (span.first, span.last) == (0, 4 * size)


@given(st.data())
def test_a_centred_window_has_its_frame_in_the_middle_and_no_frame_twice(data):
    num_frames = 2 * data.draw(st.integers(0, 5)) + 1
    length = data.draw(st.integers(num_frames, 40))
    centre = data.draw(st.integers(0, length - 1))
    window = centred_window(centre, num_frames, length)
    assert window.frames[num_frames // 2] == centre
    assert window.output_indices == (num_frames // 2,)
    assert len(set(window.frames)) == num_frames
    assert set(window.frames) <= set(range(length))


@given(st.data())
def test_consecutive_windows_keep_each_wanted_frame_once(data):
    num_frames = 2 * data.draw(st.integers(0, 5)) + 1
    length = data.draw(st.integers(1, 40))
    wanted = data.draw(st.sets(st.integers(0, length - 1), min_size=1))
    kept = []
    for window in consecutive_windows(num_frames, length, wanted):
        assert len(window.frames) == num_frames and max(window.frames) < length
        for index in window.output_indices:
            frame = window.frames[index]
            kept.append(frame)
            assert index >= num_frames // 4 or frame == index
            assert num_frames - 1 - index >= num_frames // 4 or window.frames[-1] == length - 1
    assert kept == sorted(wanted)


@pytest.mark.parametrize("name", DEGRADATIONS)
@given(seed=seeds, height=edges, width=edges)
def test_degradations_treat_rows_as_columns(name, seed, height, width):
    gt = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    lq = degrade(gt, name)
    assert lq.shape == (1, height // 4, width // 4, 3) and lq.dtype == np.uint8
    assert_close(degrade(gt.swapaxes(1, 2), name), lq.swapaxes(1, 2))


@pytest.mark.parametrize("name", [name for name, how in DEGRADATIONS.items() if how.flip_shift == 0])
@given(seed=seeds, height=edges, width=edges)
def test_centred_degradations_look_the_same_from_both_sides(name, seed, height, width):
    gt = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    assert_close(degrade(gt[:, ::-1, ::-1], name), degrade(gt, name)[:, ::-1, ::-1])


@pytest.mark.parametrize("name", DEGRADATIONS)
@given(colour=st.tuples(*3 * [st.integers(0, 255)]), height=edges, width=edges)
def test_degradations_leave_a_plain_colour_alone(name, colour, height, width):
    gt = np.full((1, height, width, 3), colour, np.uint8)
    assert np.array_equal(degrade(gt, name), gt[:, ::4, ::4])


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for values halfway between two grey levels."""
    assert np.abs(found.astype(int) - expected).max() <= 1


@given(
    seed=seeds,
    motions=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=2, max_size=2),
    turns=st.fixed_dictionaries(
        {name: st.booleans() for name in ("reverse", "flip_x", "flip_y", "transpose")}
    ),
)
def test_flows_lead_to_the_same_pixels_after_any_turn(seed, motions, turns):
    """Three crops of one picture, so many pixels apart, and the flow between them."""
    size, picture = 9, np.random.default_rng(seed).integers(0, 2**31, (40, 40, 1))
    places = np.cumsum([(16, 16), *motions], axis=0)
    lq = np.stack([picture[y : y + size, x : x + size] for x, y in places])
    forward, backward = np.zeros((2, 3, size, size, 2), np.float32)
    forward[1:] = np.array(motions)[:, None, None]
    backward[:-1] = -np.array(motions)[:, None, None]
    frames = {"lq": lq, "flows_forward": forward, "flows_backward": backward}
    turned = turn(frames, Window(0, 0, 0, 0, **turns))
    inside = slice(2, size - 2)
    rows, columns = np.mgrid[inside, inside]
    for t, neighbour, key in ((0, 1, "flows_backward"), (1, 2, "flows_backward"), (1, 0, "flows_forward")):
        dx, dy = np.moveaxis(turned[key][t, inside, inside], -1, 0).astype(int)
        pulled = turned["lq"][neighbour][rows + dy, columns + dx]
        assert np.array_equal(pulled, turned["lq"][t, inside, inside])
    assert not turned["flows_forward"][0].any() and not turned["flows_backward"][-1].any()
