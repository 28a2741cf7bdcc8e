"""Choose a variant's learning rate from a sweep, by PSNR on the validation clips."""

import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from vsrbench.core.config import Variant
from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import check, origin

SCORE = "validation_psnr_rgb"


def choose_learning_rate(*, runs: list[Path], out: Path) -> None:
    """Read the provenance of a sweep's trainings; write the sweep and the rate chosen to `out`.

    The score of a rate is the mean over seeds of the PSNR (dB) after the last iteration; a rate of which one
    training diverged (no finite score) is not chosen. Raises InputError for any other file and
    where every rate diverged.
    """
    check(*runs)
    made = origin("choose_learning_rate", *runs)
    scores: dict[float, dict[int, float | None]] = defaultdict(dict)
    for path in runs:
        rate, seed, score = _read_run(path)
        scores[rate][seed] = score if math.isfinite(score) else None
    means = {
        rate: fmean(score for score in by_seed.values() if score is not None)
        for rate, by_seed in scores.items()
        if None not in by_seed.values()
    }
    if not means:
        raise InputError(f"{out}: every learning rate diverged; lower tune.learning_rates")
    chosen = max(means, key=lambda rate: (means[rate], -rate))
    sweep = {
        "learning_rate": chosen,
        "on_edge": chosen in (min(scores), max(scores)),
        "score": SCORE,
        "trainings": [
            {"learning_rate": rate, "seed": seed, "score": score}
            for rate in sorted(scores)
            for seed, score in sorted(scores[rate].items())
        ],
    }
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(sweep, indent=1) + "\n")
    made.record(out)


def read_chosen(path: Path) -> float:
    """Return the learning rate that `choose_learning_rate` wrote to `path`; InputError for another file."""
    check(path)
    (rate,) = _read(path, "one that `vsrbench choose-learning-rate` wrote", "learning_rate")
    return float(rate)


def with_learning_rate(variant: Variant, rate: float) -> Variant:
    """Return the variant with another peak learning rate; InputError if it is out of range."""
    try:
        return replace(variant, training=replace(variant.training, learning_rate=rate))
    except ValueError as error:
        raise InputError(str(error)) from None


def _read_run(path: Path) -> tuple[float, int, float]:
    keys = ("learning_rate", "seed", "result")
    rate, seed, result = _read(path, "the provenance.json of a training", *keys)
    return float(rate), int(seed), float(result[SCORE])


def _read(path: Path, expected: str, *keys: str) -> list[Any]:
    try:
        facts = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:
        facts = {}
    missing = next((key for key in keys if not isinstance(facts, dict) or key not in facts), None)
    if missing is not None:
        raise InputError(f"{path}: has no {missing}; {wrong_file_remedy(expected)}")
    return [facts[key] for key in keys]
