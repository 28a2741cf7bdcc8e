"""Learning-rate schedules, as functions of the training recipe and the iteration."""

from itertools import accumulate
from math import cos, pi

from vsrbench.core.config import TrainingConfig

ONE_CYCLE_RISE = 0.3  # share of the iterations in which the learning rate rises
ONE_CYCLE_START = 25.0  # ratio of the peak to the initial learning rate


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Compute the learning rate of `iteration`, from 1 to `config.iterations`.

    During a warm-up, the schedule is scaled by iteration / warmup_iterations.
    """
    rate = _SCHEDULES[config.schedule](config, iteration - 1)
    if iteration < config.warmup_iterations:
        rate *= iteration / config.warmup_iterations
    return rate


def _cosine_restarts(config: TrainingConfig, step: int) -> float:
    """Cosine annealing with warm restarts (Loshchilov and Hutter 2017); `step` counts from 0.

    As in the released code (commit 8770126), the step at the end of a period still belongs to its cycle, and
    a restart weight scales the amplitude of its cycle above the minimum.
    """
    ends = list(accumulate(config.periods))
    cycle = next(index for index, end in enumerate(ends) if end >= step)
    period = config.periods[cycle]
    done = (step - (ends[cycle] - period)) / period
    height = config.restart_weights[cycle] * (config.learning_rate - config.minimum_learning_rate)
    return config.minimum_learning_rate + height * 0.5 * (1 + cos(pi * done))


def _one_cycle(config: TrainingConfig, step: int) -> float:
    """One-cycle policy (Smith and Topin 2017): a cosine rise to the peak, then a cosine fall."""
    rise = max(1.0, ONE_CYCLE_RISE * config.iterations - 1)
    if step < rise:
        low, done = config.learning_rate / ONE_CYCLE_START, 1 - step / rise
    else:
        low, done = config.minimum_learning_rate, (step - rise) / max(1.0, config.iterations - 1 - rise)
    return low + (config.learning_rate - low) * 0.5 * (1 + cos(pi * done))


_SCHEDULES = {"cosine_restarts": _cosine_restarts, "one_cycle": _one_cycle}
