"""The statistics on simulated studies whose effects and variances are known."""

import numpy as np
import pandas as pd
import pytest

from vsrbench.core.metric_table import METRICS
from vsrbench.results.statistics import (
    average_clips,
    average_frames,
    compare_with_full,
    correct_by_holm,
    estimate_effect,
    factorial_effects,
    pair,
    permutation_p,
    summarise,
)

EFFECT = 0.1
# Standard deviations in dB of seeds, clips and the rest.
CLIPS_VARY = (0.05, 0.15, 0.03)
BOTH_VARY = (0.1, 0.1, 0.03)
SEEDS_VARY = (0.15, 0.05, 0.03)


def simulate(studies, seeds, clips, deviations, effect=EFFECT, draw="standard_normal"):
    """(studies, seeds, clips) differences of a known effect."""
    random = getattr(np.random.default_rng(seeds * clips), draw)
    shapes = (studies, seeds, 1), (studies, 1, clips), (studies, seeds, clips)
    return effect + sum(
        deviation * random(size=shape) for deviation, shape in zip(deviations, shapes, strict=True)
    )


def coverage(differences):
    estimate = estimate_effect(differences)
    return np.mean((estimate.low <= EFFECT) & (estimate.high >= EFFECT))


@pytest.mark.parametrize("deviations", [CLIPS_VARY, BOTH_VARY, SEEDS_VARY])
@pytest.mark.parametrize("shape", [(3, 4), (3, 10), (4, 5), (5, 5), (5, 30)])
def test_interval_covers_as_promised(shape, deviations):
    studies = simulate(20_000, *shape, deviations)
    assert 0.935 <= coverage(studies) <= 0.974
    assert 0.93 <= coverage(studies[:1000]) <= 0.98


@pytest.mark.parametrize("deviations", [CLIPS_VARY, BOTH_VARY, SEEDS_VARY])
@pytest.mark.parametrize("shape", [(2, 4), (2, 5), (2, 10)])
def test_interval_of_two_seeds(shape, deviations):
    assert 0.91 <= coverage(simulate(20_000, *shape, deviations)) <= 0.98


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (3, 10), (5, 30)])
def test_interval_never_fails_where_nothing_but_the_rest_varies(shape):
    assert coverage(simulate(20_000, *shape, (0, 0, 0.1))) >= 0.95


def test_interval_withstands_other_distributions():
    uneven = simulate(20000, 3, 10, CLIPS_VARY, draw="standard_exponential") - sum(CLIPS_VARY)
    assert 0.90 <= coverage(uneven) <= 0.98


def test_bootstrap_of_seeds_then_clips_would_not_cover():
    """The reason for a t-interval."""
    random = np.random.default_rng(0)
    covered = []
    for study in simulate(300, 2, 5, BOTH_VARY):
        seeds, clips = random.integers(2, size=(400, 2, 1)), random.integers(5, size=(400, 1, 5))
        low, high = np.quantile(study[seeds, clips].mean((1, 2)), [0.025, 0.975])
        covered.append(low <= EFFECT <= high)
    assert np.mean(covered) < 0.85


def test_interval_and_p_agree():
    estimate = estimate_effect(simulate(2000, 3, 5, BOTH_VARY))
    excludes_zero = (estimate.low > 0) | (estimate.high < 0)
    assert 0 < excludes_zero.sum() < 2000
    np.testing.assert_array_equal(excludes_zero, estimate.p < 0.05)


def test_one_clip_is_a_t_test_over_seeds():
    from scipy import stats

    differences = np.array([[0.3], [0.5], [0.1]])
    low, high = stats.ttest_1samp(differences[:, 0], 0).confidence_interval(0.95)
    estimate = estimate_effect(differences)
    np.testing.assert_allclose([estimate.low, estimate.high], [low, high])


def test_one_seed_has_no_interval():
    estimate = estimate_effect(np.array([[0.3, 0.4]]))
    assert estimate.difference == pytest.approx(0.35)
    assert np.isnan([estimate.low, estimate.high, estimate.p]).all()
    assert np.isnan(permutation_p(np.array([[0.3, 0.4]])))


@pytest.mark.parametrize("deviations", [CLIPS_VARY, BOTH_VARY, SEEDS_VARY])
def test_permutation_finds_no_more_than_one_in_twenty_where_nothing_is(deviations):
    p = [permutation_p(study) for study in simulate(400, 6, 8, deviations, effect=0)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 0.02  # two standard errors of 400 studies


@pytest.mark.slow
@pytest.mark.parametrize("deviations", [CLIPS_VARY, BOTH_VARY, SEEDS_VARY])
@pytest.mark.parametrize("shape", [(6, 10), (8, 10)])
def test_permutation_in_a_thousand_studies(shape, deviations):
    p = [permutation_p(study) for study in simulate(1000, *shape, deviations, effect=0)]
    assert np.mean(np.array(p) <= 0.05) <= 0.06


def test_permutation_finds_what_is_there_and_knows_its_floor():
    clear = simulate(1, 7, 8, (0.02, 0.05, 0.02), effect=1.0)[0]
    assert permutation_p(clear) == pytest.approx(2 / 2**7)
    assert permutation_p(clear[:2]) == pytest.approx(0.5)


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
    assert fcsa.low < -0.5 < fcsa.high < 0
    assert (fcsa.paired_seeds, fcsa.paired_clips) == (3, 4)
    assert bicubic.difference == pytest.approx(-2.0, abs=0.02)
    assert bicubic.paired_seeds == 3, "a baseline is held against every seed of the full model"
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
    rows = study_rows(seeds=(0, 1))
    rows = rows[(rows["variant"] == "full") | (rows["seed"] == 0)]
    assert compare_with_full(average_clips(rows)).loc[("vid4", "fcsa", "psnr_rgb"), "paired_seeds"] == 1


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
