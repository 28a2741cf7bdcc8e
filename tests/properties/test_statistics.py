"""Results do not depend on the order, or the names, of seeds, clips and frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsrbench.core.metric_table import METRICS
from vsrbench.results.statistics import average_clips, compare_with_full, correct_by_holm, summarise


@st.composite
def frame_rows(draw) -> pd.DataFrame:
    """Scores of every frame of a few clips, by two networks of some seeds and a baseline of one."""
    seeds, clips = draw(st.integers(3, 5)), draw(st.integers(1, 4))
    frames = draw(st.lists(st.integers(1, 3), min_size=clips, max_size=clips))
    runs = [("full", seed) for seed in range(seeds)] + [("fcsa", seed) for seed in range(seeds)]
    keys = [
        ("vid4", variant, seed, f"clip{clip}", frame)
        for variant, seed in [*runs, ("bicubic", 0)]
        for clip in range(clips)
        for frame in range(frames[clip])
    ]
    rows = pd.DataFrame(keys, columns=["dataset", "variant", "seed", "clip", "frame"])
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for metric in METRICS:
        rows[metric] = random.normal(30, 1, len(rows))
    return rows


def statistics_of(rows: pd.DataFrame) -> list[pd.DataFrame]:
    clips = average_clips(rows)
    return [summarise(clips).sort_index(), compare_with_full(clips).sort_index()]


def assert_same(found: list[pd.DataFrame], expected: list[pd.DataFrame]) -> None:
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-6, atol=1e-9)


@settings(max_examples=8)
@given(rows=frame_rows(), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_means_nothing(rows, seed):
    assert_same(statistics_of(rows.sample(frac=1, random_state=seed)), statistics_of(rows))


@settings(max_examples=8)
@given(rows=frame_rows(), data=st.data())
def test_the_names_of_seeds_and_clips_mean_nothing(rows, data):
    renamed = rows.copy()
    for key in ("seed", "clip"):
        names = sorted(rows[key].unique())
        renamed[key] = rows[key].map(dict(zip(names, data.draw(st.permutations(names)), strict=True)))
    renamed.loc[renamed["variant"] == "bicubic", "seed"] = 0
    assert_same(statistics_of(renamed), statistics_of(rows))


@settings(max_examples=8)
@given(rows=frame_rows(), shift=st.floats(-5, 5))
def test_a_shift_of_one_network_shifts_its_difference(rows, shift):
    shifted = rows.copy()
    shifted.loc[rows["variant"] == "fcsa", list(METRICS)] += shift
    before, after = (compare_with_full(average_clips(table)).sort_index() for table in (rows, shifted))
    for column in ("difference", "low", "high"):
        moved = (after[column] - before[column]).unstack("variant")
        assert moved["fcsa"].to_numpy() == pytest.approx(shift, abs=1e-6)
        assert moved["bicubic"].to_numpy() == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(0, 1) | st.just(np.nan), max_size=8), st.randoms())
def test_holm_lies_between_no_correction_and_bonferroni_in_any_order(p, random):
    p = pd.Series(p, dtype=float)
    corrected = correct_by_holm(p)
    real = p.dropna()
    assert (corrected[real.index] >= real).all()
    assert (corrected[real.index] <= len(real) * real + 1e-12).all()
    assert corrected[p.isna()].isna().all()
    order = list(p.index)
    random.shuffle(order)
    pd.testing.assert_series_equal(correct_by_holm(p[order])[p.index], corrected)
    ordered = corrected[real.sort_values().index].to_numpy()
    assert (np.diff(ordered) >= 0).all() and (ordered <= 1).all()
