"""Each kind of verdict, from differences that are given seed by seed."""

import pandas as pd
import pytest

from vsrbench.core.claims import Claim
from vsrbench.core.config import STUDIES, at_budget, read_yaml, resolve_variant
from vsrbench.core.metric_table import METRICS
from vsrbench.results.study_results import Results
from vsrbench.results.verdicts import conclude, judge_claims

STUDY = "made_up"
LARGEST = 1000
CLIPS = ("a", "b", "c")


def claim(name="claim", variant="fcsa", expected="below", metric="psnr_rgb", dataset="photo_motion"):
    return Claim(name, "A claim.", "4.2", variant, "full", metric, expected, 0.05, {STUDY: [dataset]})


def study(differences, metric="psnr_rgb"):
    """Results in which a variant is that much above full, by budget, variant and seed."""
    settings = read_yaml(STUDIES / "demo.yaml") | {"study": STUDY}
    settings["overrides"]["training"]["iterations"] = LARGEST
    parts = {}
    for iterations, variants in differences.items():
        rows, resolved = [], {}
        for name, by_seed in (("full", [0.0] * 9), *variants.items()):
            variant = resolve_variant(settings, name)
            resolved[name] = variant if iterations == LARGEST else at_budget(variant, iterations)
            for seed, difference in enumerate(by_seed, 1):
                for clip in CLIPS:
                    scores = dict.fromkeys(METRICS, 25.0) | {metric: 25 + 0.3 * seed + difference}
                    rows.append(
                        {
                            "dataset": "photo_motion",
                            "variant": name,
                            "seed": seed,
                            "clip": clip,
                            "frame": 0,
                            **scores,
                        }
                    )
        parts[iterations] = Results(pd.DataFrame(rows), resolved, {}, {}, {}, chain="0123")
    results = parts.pop(LARGEST)
    results.shorter.update(parts)
    return results


def spread(middle, width, seeds=5):
    """Differences around `middle`, that far apart at most."""
    return [middle + width * (index / (seeds - 1) - 0.5) for index in range(seeds)]


CASES = {
    "far below": (spread(-0.3, 0.04), "holds", "does not hold", "does not hold"),
    "far above": (spread(0.3, 0.04), "does not hold", "holds", "holds"),
    "none": (spread(0.0, 0.04), "equivalent", "equivalent", "holds"),
    "a little below": (spread(-0.02, 0.02), "holds", "does not hold", "holds"),
    "anywhere": (spread(-0.1, 0.6), "open", "open", "open"),
    "two seeds": ([-0.3, -0.31], "", "", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case):
    differences, *expected = CASES[case]
    results = study({LARGEST: {"fcsa": differences}})
    for direction, verdict in zip(("below", "above", "at_least"), expected, strict=True):
        (found,) = judge_claims(results, [claim(expected=direction)]).itertuples()
        assert found.verdict == verdict, direction
        assert found.difference == pytest.approx(sum(differences) / len(differences))
        assert found.seeds == len(differences)


def test_a_lower_score_is_better_for_some_metrics():
    results = study({LARGEST: {"fcsa": spread(0.3, 0.04)}}, "lpips_alex")
    verdicts = [
        judge_claims(results, [claim(expected=expected, metric="lpips_alex")])["verdict"].item()
        for expected in ("below", "above", "at_least")
    ]
    assert verdicts == ["holds", "does not hold", "does not hold"]


def test_claims_of_one_budget_are_a_family():
    results = study({LARGEST: {"fcsa": spread(-0.1, 0.2), "unaligned_ffn": spread(0.0, 0.3)}})
    alone = judge_claims(results, [claim()]).iloc[0]
    both = judge_claims(results, [claim(), claim("other", "unaligned_ffn")]).iloc[0]
    assert alone["p_holm"] == alone["p"] == both["p"]
    assert both["p_holm"] == pytest.approx(2 * both["p"])


def test_every_budget_has_a_row_that_names_its_cells():
    results = study({250: {"fcsa": spread(0, 0.04)}, LARGEST: {"fcsa": spread(-0.3, 0.04)}})
    table = judge_claims(results, [claim()])
    assert dict(zip(table["iterations"], table["verdict"], strict=True)) == {
        250: "equivalent",
        LARGEST: "holds",
    }
    shorter, full = table.iloc[0], table.iloc[1]
    assert shorter["evaluations"].split()[0] == "evaluations/photo_motion/fcsa_at_250/seed_1.csv"
    assert shorter["reference_runs"].split()[4] == "runs/full_at_250/seed_5"
    assert full["runs"].split() == [f"runs/fcsa/seed_{seed}" for seed in range(1, 6)]
    assert set(table["chain"]) == {"0123"}


def test_what_was_not_scored_has_no_row():
    results = study({LARGEST: {"fcsa": spread(-0.3, 0.04)}})
    assert judge_claims(results, [claim(variant="no_attention")]).empty
    assert judge_claims(results, [claim(dataset="vid4")]).empty
    assert "verdict" in judge_claims(results, [])


@pytest.mark.parametrize(
    ("verdicts", "conclusion"),
    [
        ({100: "holds", 200: "holds"}, "holds"),
        ({100: "holds", 200: "open", 400: "holds", 1200: "holds"}, "holds from 400 iterations on"),
        ({100: "open", 1200: "holds"}, "holds from 1,200 iterations on"),
        ({1200: "does not hold", 100: "holds"}, "does not hold"),
        ({100: "holds", 200: "equivalent"}, "equivalent"),
        ({100: "holds", 200: "open"}, "open"),
        ({200: ""}, "open"),
    ],
)
def test_the_largest_budget_decides(verdicts, conclusion):
    assert conclude(verdicts) == conclusion
