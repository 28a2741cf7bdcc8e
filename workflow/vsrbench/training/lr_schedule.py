"""The learning rate of every iteration, as a function of the recipe and the iteration alone."""

from itertools import accumulate
from math import cos, pi

from vsrbench.core.config import TrainingConfig

ONE_CYCLE_RISE = 0.3  # share of the iterations in which one_cycle climbs
ONE_CYCLE_START = 25.0  # peak over first learning rate


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """The learning rate of `iteration` (from 1 to `config.iterations`).

    A warm-up, where the recipe has one, scales the schedule linearly up to its full value.
    """
    rate = _SCHEDULES[config.schedule](config, iteration - 1)
    if iteration < config.warmup_iterations:
        rate *= iteration / config.warmup_iterations
    return rate


def _cosine_restarts(config: TrainingConfig, step: int) -> float:
    """Cosine cycles that restart; `step` counts from 0.

    As in the released code (commit 8770126): the step that ends a cycle still belongs to it, and a restart
    weight scales the height of its cycle above the floor.
    """
    ends = list(accumulate(config.periods))
    cycle = next(index for index, end in enumerate(ends) if end >= step)
    period = config.periods[cycle]
    done = (step - (ends[cycle] - period)) / period
    height = config.restart_weights[cycle] * (config.learning_rate - config.minimum_learning_rate)
    return config.minimum_learning_rate + height * 0.5 * (1 + cos(pi * done))


def _one_cycle(config: TrainingConfig, step: int) -> float:
    """One cosine rise to the peak and one cosine fall to the floor (Smith and Topin 2017)."""
    rise = max(1.0, ONE_CYCLE_RISE * config.iterations - 1)
    if step < rise:
        low, done = config.learning_rate / ONE_CYCLE_START, 1 - step / rise
    else:
        low, done = config.minimum_learning_rate, (step - rise) / max(1.0, config.iterations - 1 - rise)
    return low + (config.learning_rate - low) * 0.5 * (1 + cos(pi * done))


_SCHEDULES = {"cosine_restarts": _cosine_restarts, "one_cycle": _one_cycle}
