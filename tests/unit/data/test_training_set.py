"""Windows are drawn from nothing but the seed and their place, and turned together with their flows."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from tiny_training import write_clips

from models.optical_flow import warp
from vsrbench.core.errors import InputError
from vsrbench.data.clips import Clip, write_frame
from vsrbench.data.degradation import DEGRADATIONS, degrade
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.prefetch import prefetch
from vsrbench.data.store_frames import build_store
from vsrbench.data.training_set import TrainingSet, Window


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FrameStore:
    folder = tmp_path_factory.mktemp("clips")
    build_store(write_clips(folder), folder / "store")
    return FrameStore(folder / "store")


def make(store, **changes) -> TrainingSet:
    settings = {"num_frames": 3, "size": 16, "batch_size": 4, "seed": 1, "with_flows": True}
    return TrainingSet(store, **settings | changes)


def test_batch_has_the_promised_shapes(store):
    batch = make(store).batch(1)
    assert batch["lq"].shape == (4, 3, 3, 16, 16) and batch["lq"].dtype == torch.uint8
    assert batch["gt"].shape == (4, 3, 3, 64, 64) and batch["gt"].dtype == torch.uint8
    assert batch["flows_forward"].shape == batch["flows_backward"].shape == (4, 3, 2, 16, 16)
    assert "flows_forward" not in make(store, with_flows=False).batch(1)


def test_windows_depend_on_seed_and_place_alone(store):
    one, other = make(store), make(store)
    forwards = [one.windows(iteration) for iteration in range(1, 9)]
    backwards = [other.windows(iteration) for iteration in range(8, 0, -1)]
    assert forwards == backwards[::-1]
    assert make(store, seed=2).windows(1) != forwards[0]


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_low_quality_is_the_degraded_ground_truth_however_it_is_turned(tmp_path, degradation):
    """Off the frame's edges; else a network would learn several phases, and their mean."""
    random = np.random.default_rng(0)
    gt = np.stack([uniform_filter(random.uniform(0, 255, (128, 128, 3)), (3, 3, 1)) for _ in range(3)])
    gt = gt.astype(np.uint8)
    paths = tuple(tmp_path / "a" / f"{t}.png" for t in range(3))
    paths[0].parent.mkdir()
    for path, frame in zip(paths, gt, strict=True):
        write_frame(path, frame)
    build_store([Clip("made", "a", degradation, lq=(), gt=paths, scored=())], tmp_path / "store")
    windows = TrainingSet(FrameStore(tmp_path / "store"), num_frames=3, size=16, batch_size=64, seed=1)
    batch, drawn = windows.batch(1), windows.windows(1)
    for lq, gt in zip(batch["lq"], batch["gt"], strict=True):
        expected = degrade(gt.movedim(1, -1).numpy(), degradation)[:, 3:-3, 3:-3]
        found = lq.movedim(1, -1).numpy()[:, 3:-3, 3:-3]
        assert np.abs(expected.astype(int) - found).max() <= 1  # halves are rounded up, flipped or not
    assert len({(window.flip_x, window.flip_y, window.transpose) for window in drawn}) == 8


def test_ranks_share_a_batch_without_overlap(store):
    whole = make(store).batch(3)["lq"]
    parts = [make(store).batch(3, rank, world_size=2)["lq"] for rank in range(2)]
    assert torch.equal(whole[0::2], parts[0]) and torch.equal(whole[1::2], parts[1])


def test_every_window_comes_once_an_epoch_and_every_turn_comes(store):
    windows = [window for iteration in range(1, 61) for window in make(store).windows(iteration)]
    starts = Counter((window.clip, window.start) for window in windows)
    assert starts == {(clip, start): 40 for clip, start in product(range(2), range(3))}
    for turn in ("reverse", "flip_x", "flip_y", "transpose"):
        assert 0.35 < np.mean([getattr(window, turn) for window in windows]) < 0.65
    assert {window.top for window in windows} == set(range(24 - 16 + 1))


@pytest.mark.parametrize("turns", list(product([False, True], repeat=4)))
def test_flows_still_lead_to_the_neighbours_after_any_turn(store, turns):
    batch = make(store).stack([Window(0, 1, 4, 4, *turns)])
    lq = batch["lq"][0].float()
    forward, backward = batch["flows_forward"][0], batch["flows_backward"][0]
    inside = (..., slice(2, -2), slice(2, -2))
    for t in range(2):
        for here, there, flow in ((t, t + 1, backward), (t + 1, t, forward)):
            warped = warp(lq[there, None], flow[here, None])[0]
            error = (warped - lq[here])[inside].abs().mean()
            assert error < 0.3 * (lq[there] - lq[here])[inside].abs().mean()
    assert not forward[0].any() and not backward[-1].any()  # beyond the window there is nothing


def test_gt_is_turned_as_lq(store):
    for turns in product([False, True], repeat=4):
        batch = make(store).stack([Window(1, 0, 3, 5, *turns)])
        small = torch.nn.functional.avg_pool2d(batch["gt"][0].float(), 4)
        assert (small - batch["lq"][0]).abs().mean() < 1.5


def test_fixed_windows_are_few_and_always_the_same(store):
    windows = make(store).fixed_windows(1)
    assert windows == make(store, seed=9).fixed_windows(1) == [Window(0, 1, 4, 4)]
    assert len(make(store).fixed_windows(100)) == 2


@pytest.mark.parametrize(("change", "words"), [({"num_frames": 7}, "5 frames"), ({"size": 32}, "24x24")])
def test_a_clip_that_is_too_small_is_named(store, change, words):
    with pytest.raises(InputError, match=f"clip0.*{words}"):
        make(store, **change)


def test_a_batch_can_be_told_in_words(store):
    assert make(store).describe(1).count("clip") >= 4


def test_prefetch_keeps_the_order_and_passes_errors_on():
    assert list(prefetch(lambda key: key * key, range(20), workers=3)) == [key * key for key in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda key: 1 / key, range(3), workers=2))
