"""The statistics on simulated studies whose effects and variances are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vsrbench.core.metric_table import METRICS
from vsrbench.results.statistics import (
    BEST,
    SECOND_BEST,
    TIED,
    average_clips,
    average_frames,
    compare_with_full,
    correct_by_holm,
    estimate_effect,
    factorial_effects,
    judge,
    pair,
    rank_variants,
    resolvable_difference,
    seeds_to_close,
    seeds_to_resolve,
    summarise,
)

EFFECT = 0.1
# Standard deviations in dB of seeds, clips and the rest.
DEVIATIONS = [(0.05, 0.15, 0.03), (0.1, 0.1, 0.03), (0.15, 0.05, 0.03), (0.03, 0.03, 0.1)]


def simulate(studies, seeds, clips, deviations):
    """(studies, seeds, clips) differences of a known effect, and the effect on the clips of each study."""
    random = np.random.default_rng(seeds * clips)
    of_seeds, of_clips, rest = (
        deviation * random.standard_normal(shape)
        for deviation, shape in zip(
            deviations, [(studies, seeds, 1), (studies, 1, clips), (studies, seeds, clips)], strict=True
        )
    )
    return EFFECT + of_seeds + of_clips + rest, EFFECT + of_clips.mean((-2, -1))


@pytest.mark.parametrize("deviations", DEVIATIONS)
@pytest.mark.parametrize("shape", [(3, 3), (3, 30), (4, 6), (6, 1)])
def test_interval_covers_the_difference_on_the_scored_clips(shape, deviations):
    differences, truth = simulate(20_000, *shape, deviations)
    estimate = estimate_effect(differences)
    assert 0.944 <= np.mean((estimate.low <= truth) & (truth <= estimate.high)) <= 0.956


@pytest.mark.parametrize("deviations", DEVIATIONS)
@pytest.mark.parametrize("shape", [(3, 3), (3, 30), (4, 6), (6, 10)])
def test_wider_interval_covers_the_difference_on_other_clips(shape, deviations):
    estimate = estimate_effect(simulate(20_000, *shape, deviations)[0])
    assert 0.944 <= np.mean((estimate.low_any_clip <= EFFECT) & (estimate.high_any_clip >= EFFECT)) <= 0.997


@pytest.mark.parametrize("seeds", [3, 5])
def test_p_values_keep_their_promise_far_out(seeds):
    """Where Holm's correction needs them, and for a network that trains five times less reliably."""
    random = np.random.default_rng(seeds)
    full = random.standard_normal((200_000, seeds, 1))
    for deviation in (1, 5):
        p = estimate_effect(deviation * random.standard_normal((200_000, seeds, 1)) - full).p
        for level in (0.05, 0.01, 0.001):
            assert np.mean(p < level) <= 1.2 * level


def test_family_of_comparisons_errs_in_one_study_of_twenty():
    """Nine networks like full but for one of five times its spread; all share full's runs."""
    random = np.random.default_rng(1)
    studies, seeds, names = 2000, 3, 9
    scores = random.standard_normal((names + 1, studies, seeds, 1))
    scores[1] *= 5
    p = estimate_effect(scores[1:] - scores[0]).p
    smallest = p.min(0) * names  # what Holm's first step compares with 0.05
    assert 0.02 <= np.mean(smallest < 0.05) <= 0.055


def test_one_clip_is_a_t_test_over_seeds():
    differences = np.array([[0.1], [0.3], [0.2]])
    estimate = estimate_effect(differences)
    known = stats.ttest_1samp(differences[:, 0], 0)
    assert estimate.p == pytest.approx(known.pvalue)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(known.confidence_interval()))
    assert np.isnan(estimate.low_any_clip)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_give_a_point_and_nothing_else(seeds):
    estimate = estimate_effect(np.full((seeds, 5), 0.2))
    assert estimate.difference == pytest.approx(0.2)
    assert np.isnan([estimate.low, estimate.p, estimate.low_any_clip]).all()


@pytest.mark.parametrize("value, p", [(0.0, 1), (0.25, 0)])
def test_seeds_that_agree_to_the_last_bit(value, p):
    estimate = estimate_effect(np.full((3, 4), value))
    assert (estimate.low, estimate.high, estimate.p) == (value, value, p)


def test_clips_of_one_photograph_count_once():
    """Six clips of three photographs are three replicates."""
    by_photograph = np.array([0.0, 0.3, 0.6])
    random = np.random.default_rng(2)
    differences = np.repeat(by_photograph, 2) + 0.001 * random.standard_normal((4, 6))
    sources = ["a", "a", "b", "b", "c", "c"]
    half = stats.t.isf(0.025, 2) * stats.sem(by_photograph)
    estimate = estimate_effect(differences, sources)
    assert (estimate.high_any_clip - estimate.low_any_clip) / 2 == pytest.approx(half, rel=0.01)
    apart = estimate_effect(differences)
    assert apart.high_any_clip - apart.low_any_clip < 0.6 * (estimate.high_any_clip - estimate.low_any_clip)


def test_order_of_seeds_and_clips_does_not_matter():
    differences = simulate(1, 4, 6, DEVIATIONS[0])[0][0]
    shuffled = differences[[2, 0, 3, 1]][:, [5, 3, 0, 1, 4, 2]]
    np.testing.assert_allclose(estimate_effect(differences), estimate_effect(shuffled))


def row(difference=0.0, low=-0.01, high=0.01, p_holm=1.0, verdict="open", seeds=3):
    return SimpleNamespace(
        difference=difference, low=low, high=high, p_holm=p_holm, verdict=verdict, paired_seeds=seeds
    )


@pytest.mark.parametrize(
    "estimate, higher_is_better, verdict",
    [
        (row(0.3, 0.2, 0.4, 0.01), True, "better"),
        (row(0.3, 0.2, 0.4, 0.01), False, "worse"),
        (row(-0.3, -0.4, -0.2, 0.01), True, "worse"),
        (row(0.3, 0.2, 0.4, 0.06), True, "open"),
        (row(0.01, -0.03, 0.04), True, "equivalent"),
        (row(0.01, -0.06, 0.04), True, "open"),
        (row(0.01, -0.03, 0.06), True, "open"),
        (row(0.01, np.nan, np.nan), True, ""),
    ],
)
def test_three_answers(estimate, higher_is_better, verdict):
    assert judge(estimate, higher_is_better, margin=0.05) == verdict


def open_comparison(difference, deviation, seeds=3):
    """Of the paired difference, whose standard deviation over seeds is `deviation`."""
    half = stats.t.isf(0.025, seeds - 1) * deviation / np.sqrt(seeds)
    return row(difference, difference - half, difference + half, seeds=seeds)


def test_seeds_that_would_settle_an_open_comparison():
    deviation, difference, comparisons = 0.3, 0.2, 4
    enough = seeds_to_close(open_comparison(difference, deviation), 0.05, comparisons)
    assert enough == seeds_to_resolve(difference, deviation / np.sqrt(2), comparisons)
    small = int(seeds_to_close(open_comparison(0.0, 0.1), 0.05, comparisons))
    for number, settled in ((small, True), (small - 1, False)):
        assert (stats.t.isf(0.025, number - 1) * 0.1 / np.sqrt(number) < 0.05) == settled
    assert seeds_to_close(open_comparison(0.0, 9.0), 0.05, comparisons) == np.inf
    assert np.isnan(seeds_to_close(row(verdict="better"), 0.05, comparisons))


def test_a_planned_difference_is_resolved_in_four_studies_of_five():
    random = np.random.default_rng(3)
    seeds, comparisons, deviation = 5, 8, 0.05
    planned = resolvable_difference(deviation, seeds, comparisons)
    runs = deviation * random.standard_normal((2, 50_000, seeds, 1))
    p = estimate_effect(planned + runs[0] - runs[1]).p
    assert np.mean(p < 0.05 / comparisons) == pytest.approx(0.8, abs=0.01)
    assert seeds_to_resolve(planned, deviation, comparisons) == seeds
    assert seeds_to_resolve(0.999 * planned, deviation, comparisons) == seeds + 1
    assert seeds_to_resolve(1e-4, deviation, comparisons) is None
    assert np.isnan(resolvable_difference(deviation, 2, comparisons))


def tables(seeds=4, **levels):
    """Scores (seeds x clips) around a level for each name, whose seeds scatter by 0.01."""
    random = np.random.default_rng(4)
    return {
        name: pd.DataFrame(level + 0.01 * random.standard_normal((seeds, 1)) + np.zeros(3))
        for name, level in levels.items()
    }


def test_best_and_second_best_where_they_are_told_apart():
    assert rank_variants(tables(a=1, b=2, c=3), higher_is_better=True) == {"c": BEST, "b": SECOND_BEST}
    assert rank_variants(tables(a=1, b=2, c=3), higher_is_better=False) == {"a": BEST, "b": SECOND_BEST}


def test_ties_are_ties():
    assert rank_variants(tables(a=1, b=3, c=3), higher_is_better=True) == {"b": TIED, "c": TIED}
    assert rank_variants(tables(a=2, b=2, c=3), higher_is_better=True) == {"c": BEST}
    assert rank_variants(tables(a=1, b=2, seeds=2), higher_is_better=True) == {}
    assert rank_variants(tables(a=1), higher_is_better=True) == {}


def test_the_best_of_equals_is_rarely_told_apart():
    """Picking the best mean first and testing against it would err in one study of ten."""
    random = np.random.default_rng(5)
    told_apart = 0
    for _ in range(200):
        scores = {name: pd.DataFrame(random.standard_normal((3, 1))) for name in "abcdef"}
        told_apart += rank_variants(scores, higher_is_better=True).get("a") is None
    assert told_apart <= 0.05 * 200 + 2 * np.sqrt(200 * 0.05 * 0.95)


def test_a_baseline_that_leads():
    scores = tables(full=1, other=2) | {"bicubic": pd.DataFrame([[3.0, 3.0, 3.0]])}
    assert rank_variants(scores, higher_is_better=True) == {"bicubic": BEST, "other": SECOND_BEST}


def test_holm_against_the_textbook():
    p = pd.Series([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(correct_by_holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])


def study_rows(seeds=(1, 2, 3), clips=4, effects=None):
    """One row for each frame of a made-up study with known effects in dB."""
    effects = {"full": 0.0, "fcsa": -0.5} if effects is None else effects
    random = np.random.default_rng(7)
    level = random.normal(25, 2, clips)
    rows = [
        {
            "dataset": "vid4",
            "variant": variant,
            "seed": seed,
            "clip": f"clip{clip}",
            "frame": frame,
            **dict.fromkeys(METRICS, 0.5),
            "psnr_rgb": level[clip] + effect + random.normal(0, 0.01),
        }
        for variant, effect in effects.items()
        for seed in ([0] if variant == "bicubic" else seeds)
        for clip in range(clips)
        for frame in range(clip + 2)
    ]
    return pd.DataFrame(rows)


def test_clips_count_alike_whatever_their_length():
    rows = study_rows(effects={"full": 0.0})
    summary = summarise(average_clips(rows)).loc[("vid4", "full", "psnr_rgb")]
    seed_means = rows.groupby(["seed", "clip"]).psnr_rgb.mean().groupby("seed").mean()
    assert summary["mean"] == pytest.approx(seed_means.mean())
    assert summary["spread"] == pytest.approx(seed_means.std())
    assert summary["seeds"] == 3


def test_infinite_psnr_does_not_spoil_the_mean():
    rows = study_rows(effects={"full": 0.0})
    rows.loc[0, "psnr_rgb"] = np.inf
    assert np.isfinite(summarise(average_clips(rows)).loc[("vid4", "full", "psnr_rgb"), "mean"])


def test_differences_from_full():
    table = compare_with_full(average_clips(study_rows(effects={"full": 0.0, "fcsa": -0.5, "bicubic": -2.0})))
    fcsa, bicubic = table.loc[("vid4", "fcsa", "psnr_rgb")], table.loc[("vid4", "bicubic", "psnr_rgb")]
    assert fcsa.difference == pytest.approx(-0.5, abs=0.02)
    assert fcsa.low < fcsa.difference < fcsa.high < 0
    assert (fcsa.verdict, bicubic.verdict) == ("worse", "worse")
    assert (fcsa.paired_seeds, fcsa.paired_clips) == (3, 4)
    assert bicubic.difference == pytest.approx(-2.0, abs=0.02)
    assert bicubic.paired_seeds == 3, "a baseline is compared with every seed of the full model"
    assert fcsa.p <= fcsa.p_holm
    assert ("vid4", "fcsa", "lpips_alex") in table.index


def test_a_frame_that_one_network_restores_exactly_counts_for_none():
    """Else full, exact where the others are nearly so too, would be left with the hard frames alone."""
    rows = study_rows(effects={"full": 0.0, "fcsa": -0.5})
    easy = rows["frame"] == 0
    rows.loc[easy, "psnr_rgb"] = np.where(rows["variant"][easy] == "full", np.inf, 60.0)
    clips = average_clips(rows)
    assert compare_with_full(clips).loc[("vid4", "fcsa", "psnr_rgb"), "difference"] == pytest.approx(
        -0.5, abs=0.02
    )
    by_frame = average_frames(rows)
    assert by_frame.loc[("vid4", "fcsa", "psnr_rgb"), "frame_mean"] < 40
    assert by_frame.loc[("vid4", "full", "psnr_rgb"), "infinite"] == easy.sum() / 2
    assert clips["ssim_rgb"].eq(0.5).all(), "only PSNR has no value there"


@pytest.mark.parametrize("seeds", [(0, 1, 2), (1, 2, 3)])
def test_bicubic_is_held_against_every_seed_whatever_their_numbers(seeds):
    clips = average_clips(study_rows(seeds=seeds, effects={"full": 0.0, "bicubic": -2.0}))
    bicubic = compare_with_full(clips).loc[("vid4", "bicubic", "psnr_rgb")]
    assert bicubic.paired_seeds == 3
    assert bicubic.low < -2.0 < bicubic.high


def test_a_variant_of_one_seed_is_held_against_that_seed():
    rows = study_rows(seeds=(1, 2))
    rows = rows[(rows["variant"] == "full") | (rows["seed"] == 1)]
    assert compare_with_full(average_clips(rows)).loc[("vid4", "fcsa", "psnr_rgb"), "paired_seeds"] == 1


@pytest.mark.parametrize("once", [["fcsa"], ["full"], ["full", "fcsa"]])
def test_loaded_weights_have_no_seeds_and_are_held_against_all(once):
    rows = study_rows(seeds=(1, 2, 3))
    rows = rows[~rows["variant"].isin(once) | (rows["seed"] == 1)]
    rows["seed"] = rows["seed"].mask(rows["variant"].isin(once), 0)
    compared = compare_with_full(average_clips(rows)).loc[("vid4", "fcsa", "psnr_rgb")]
    means = rows.groupby(["variant", "seed", "clip"])["psnr_rgb"].mean().groupby("variant").mean()
    assert compared["paired_seeds"] == (1 if len(once) == 2 else 3)
    assert compared["difference"] == pytest.approx(means["fcsa"] - means["full"])
    assert np.isnan(compared["low"]) == (len(once) == 2)


def test_pairs_are_those_that_both_have():
    full = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=[1, 2])
    scores = pd.DataFrame({"a": [1.5, 2.5], "b": [np.nan, 4.5]}, index=[2, 3])
    np.testing.assert_array_equal(pair(scores, full), [[-0.5]])


def test_grid_gives_effects_and_interaction():
    effects = {"full": 0.0, "fcsa": -0.5, "token": -0.2, "fcsa_token": -0.6}
    attention, feed_forward = {"attention": "fcsa"}, {"feed_forward": "token_wise"}
    changes = {"full": {}, "fcsa": attention, "token": feed_forward, "fcsa_token": attention | feed_forward}
    table = factorial_effects(average_clips(study_rows(effects=effects)), changes, "psnr_rgb")
    table = table.set_index("effect").difference
    assert table["attention: fcsa"] == pytest.approx(-0.45, abs=0.02)
    assert table["feed_forward: token_wise"] == pytest.approx(-0.15, abs=0.02)
    assert table["attention: fcsa x feed_forward: token_wise"] == pytest.approx(0.1, abs=0.02)


def test_grid_of_a_setting_that_is_a_list():
    effects = {"full": 0.0, "fcsa": -0.5, "betas": -0.2, "both": -0.7}
    attention, betas = {"attention": "fcsa"}, {"betas": (0.9, 0.999)}
    changes = {"full": {}, "fcsa": attention, "betas": betas, "both": attention | betas}
    table = factorial_effects(average_clips(study_rows(effects=effects)), changes, "psnr_rgb")
    assert "betas: (0.9, 0.999)" in set(table["effect"])


def test_no_grid_no_effects():
    changes = {"full": {}, "fcsa": {"attention": "fcsa"}}
    assert factorial_effects(average_clips(study_rows()), changes, "psnr_rgb").empty
