"""Train layers on k-patterns by stochastic gradient descent and by Adam, and record accuracy over steps.

Every step has fresh inputs, so that nothing can be memorised, and their accuracy before the step is that on
unseen inputs. The loss is the theorem's, max(0, 1 - y h(x)).
"""

import csv
import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import begin, write_provenance
from vsrbench.patterns.layers import LAYERS
from vsrbench.patterns.tasks import draw_inputs, draw_task

LEARNT = 0.99  # accuracy at which a pattern counts as learnt, and a training ends


@dataclass(frozen=True)
class Budget:
    """Steps at most, inputs of a step, and steps whose inputs make one value of the accuracy."""

    steps: int
    batch_size: int
    interval: int


@dataclass(frozen=True)
class Run:
    """One training: a layer on one task, from one initialisation."""

    layer: str
    optimiser: str
    n: int
    function: str
    k: int
    seed: int  # of the task, the inputs and the initialisation; the same for all layers
    rate: float
    tuning: bool = False


@dataclass(frozen=True)
class Progress:
    """Accuracy and mean loss over the inputs of the last steps, each before its own step."""

    step: int
    accuracy: float
    loss: float


def train(run: Run, budget: Budget) -> list[Progress]:
    """Train until the accuracy reaches LEARNT, the loss is not finite, or the budget ends."""
    generator = torch.Generator().manual_seed(run.seed)
    task = draw_task(run.n, run.k, run.function, generator)
    network = _build(run)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[run.optimiser]
    optimiser = kind(network.parameters(), lr=run.rate, fused=True)
    found: list[Progress] = []
    right, losses = 0.0, 0.0
    for step in range(1, budget.steps + 1):
        x = draw_inputs((budget.batch_size, run.n), generator)
        y = task.label(x)
        margin = y * network(x)
        loss = torch.relu(1 - margin).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right += (margin > 0).sum().item()
        losses += loss.item()
        if step % budget.interval == 0:
            inputs = budget.interval * budget.batch_size
            found.append(Progress(step, right / inputs, losses / budget.interval))
            if found[-1].accuracy >= LEARNT or not math.isfinite(losses):
                break
            right, losses = 0.0, 0.0
    return found


def steps_to_learn(found: list[Progress]) -> float:
    """Return the steps after which the accuracy reached LEARNT, or infinity."""
    return found[-1].step if found[-1].accuracy >= LEARNT else math.inf


def choose_rate(
    rates: list[float], seeds: list[int], steps: int, attempt: Callable[[float, int, int], list[Progress]]
) -> float:
    """Choose the rate that learns with every seed in the fewest steps; of equals, the first.

    Where none does, the one with the best accuracy over the steps of the first seed that it fails with;
    one that diverges has none.
    `attempt(rate, seed, steps)` trains for so many steps at most: no longer than the best rate so far took,
    since then the choice cannot change any more.
    """
    best, chosen, limit = (math.inf, math.inf), rates[0], steps
    for rate in rates:
        slowest, error = 0.0, 0.0
        for seed in seeds:
            found = attempt(rate, seed, limit)
            slowest = max(slowest, steps_to_learn(found))
            if slowest == math.inf:
                error = 1 - sum(progress.accuracy for progress in found) / len(found)
                if not math.isfinite(found[-1].loss):
                    error = math.inf
                break
        if (slowest, error) < best:
            best, chosen = (slowest, error), rate
            limit = steps if slowest == math.inf else int(slowest)
    return chosen


def learn(
    *,
    layer: str,
    optimiser: str,
    n: int,
    k: list[int],
    functions: list[str],
    rates: list[float],
    tuning_seeds: list[int],
    tuning_steps: int,
    seeds: list[int],
    steps: int,
    batch_size: int,
    interval: int,
    out: Path,
) -> None:
    """Train one layer on every function and k at one n: tune the rate with some seeds, train the others.

    Writes `out`, a row for each value of the accuracy, and `<out>.json`, its provenance.
    """
    torch.set_num_threads(1)
    begun, made = begin("learn_patterns"), origin("learn_patterns")
    budget = Budget(steps, batch_size, interval)
    cells = list(itertools.product(functions, k))
    rows: list[dict[str, object]] = []

    def keep(run: Run, steps: int) -> list[Progress]:
        found = train(run, replace(budget, steps=steps))
        size = sum(parameter.numel() for parameter in _build(run).parameters())
        rows.extend(asdict(run) | {"parameters": size} | asdict(progress) for progress in found)
        return found

    for function, bits in tqdm(cells, desc=f"{layer}/{optimiser}/n_{n}", unit="cell"):

        def run(rate: float, seed: int, tuning: bool = False) -> Run:
            return Run(layer, optimiser, n, function, bits, seed, rate, tuning)  # noqa: B023, used at once

        rate = choose_rate(
            rates,
            tuning_seeds,
            tuning_steps,
            lambda rate, seed, most: keep(run(rate, seed, tuning=True), most),
        )
        for seed in seeds:
            keep(run(rate, seed), steps)
    with atomic_write(out) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    record = out.with_suffix(".json")
    write_provenance(record, begun, budget=asdict(budget), learning_rates=rates, tuning_steps=tuning_steps)
    made.record(out, record)


def _build(run: Run) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return LAYERS[run.layer](run.n, run.k)
