"""The training log `train.jsonl`, one line per interval without gaps or repeats, and the progress bar."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vsrbench.core.files import atomic_write


@dataclass
class Interval:
    """Sums over the iterations since the last line of the log."""

    iterations: int = 0
    updates: int = 0  # iterations that were not skipped
    loss: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0  # seconds spent waiting for data


class RunLog:
    """The log of one run. Its lines are part of every checkpoint, so that the file can be restored.

    With `path` None, as in processes other than the first, nothing is written.
    """

    def __init__(self, path: Path | None, iterations: int):
        self.path, self.iterations = path, iterations
        self.lines: list[str] = []
        self.interval = Interval()

    def open(self, state: dict[str, Any] | None, iteration: int) -> None:
        """Open the log at `iteration`, with a state that `state()` returned, or empty for None."""
        if state is not None:
            self.lines, self.interval = list(state["lines"]), Interval(**state["interval"])
        if self.path is None:
            return
        with atomic_write(self.path) as partial:
            partial.write_text("".join(self.lines))
        self.file = self.path.open("a")
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=self.iterations,
            initial=iteration,
            desc="/".join(self.path.parent.parts[-2:]),
            mininterval=0.5 if terminal else 30,
            dynamic_ncols=terminal,
        )

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"lines": list(self.lines), "interval": asdict(self.interval)}

    def step(self, loss: float, gradient_norm: float) -> None:
        """Record one update; `loss` is the mean over the values of its batch."""
        self.interval.updates += 1
        self.interval.loss += loss
        self.interval.gradient_norm += gradient_norm

    def time(self, seconds: float, waiting: float) -> None:
        """Record the duration of one iteration, of which `waiting` seconds for data."""
        self.interval.iterations += 1
        self.interval.seconds += seconds
        self.interval.waiting += waiting
        if self.path is not None:
            self.bar.update()

    def write_interval(
        self, iteration: int, learning_rate: float, memory_gib: float, scores: dict[str, float]
    ) -> None:
        """Write a line about the iterations since the last one; `scores` are those of a validation, if any.

        Loss and gradient norm are means over the updates, null if every iteration was skipped.
        """
        interval, self.interval = self.interval, Interval()
        record = {
            "iteration": iteration,
            "loss": interval.loss / interval.updates if interval.updates else None,
            "gradient_norm": interval.gradient_norm / interval.updates if interval.updates else None,
            "learning_rate": learning_rate,
            **scores,
            "seconds_per_iteration": round(interval.seconds / interval.iterations, 5),
            "waiting_share": round(interval.waiting / interval.seconds, 4),
            "memory_gib": round(memory_gib, 3),
        }
        self.write(record)
        if self.path is not None:
            shown = {key: f"{value:.2f}" for key, value in scores.items()}
            loss = "none" if record["loss"] is None else f"{record['loss']:.4f}"
            self.bar.set_postfix({"loss": loss, **shown, "memory": f"{memory_gib:.1f} GiB"}, refresh=False)

    def write(self, record: dict[str, Any]) -> None:
        """Write one line."""
        line = json.dumps(record) + "\n"
        self.lines.append(line)
        if self.path is not None:
            self.file.write(line)
            self.file.flush()

    def last(self) -> dict[str, Any]:
        """Return the newest line."""
        record: dict[str, Any] = json.loads(self.lines[-1])
        return record

    def close(self) -> None:
        """Close the file and the progress bar."""
        if self.path is not None:
            self.bar.close()
            self.file.close()
