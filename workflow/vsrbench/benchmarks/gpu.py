"""What a GPU makes of the published network: steps, restoring and loading, each against its target.

`make bench-gpu` runs the tests that need a GPU and then `python -m vsrbench.benchmarks.gpu`.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from models import ModelConfig
from vsrbench.benchmarks import network, results_csv
from vsrbench.benchmarks.data import write_clip
from vsrbench.core.config import TrainingConfig, Variant
from vsrbench.core.errors import InputError
from vsrbench.data.store_frames import build_store
from vsrbench.training.train_vsr import train

Row = results_csv.Row


@dataclass(frozen=True)
class Target:
    """What a column of a measure is to reach."""

    measure: str
    column: str
    limit: float
    at_least: bool

    def verdict(self, rows: list[Row]) -> str:
        """Say in a line whether the rows meet it."""
        found = next((row[self.column] for row in rows if row["measure"] == self.measure), None)
        wanted = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        if found is None:
            return f"  not measured  {self.measure}, {self.column} ({wanted})"
        met = found >= self.limit if self.at_least else found <= self.limit
        return f"  {'met' if met else 'not met':12s}  {self.measure}, {self.column}: {found:.4g} ({wanted})"


TARGETS = [
    Target("step_bfloat16_compiled", "ratio", 4, at_least=True),
    Target("residual_stack_bfloat16_compiled", "peak_share", 0.4, at_least=True),
    Target("whole_frame_bfloat16_compiled", "seconds", 0.03, at_least=False),
    Target("tiled_bfloat16_compiled", "seconds", 0.3, at_least=False),
    Target("training", "waiting_share", 0.02, at_least=False),
]


def measure_training(windows: int = 16, iterations: int = 60) -> Row:
    """Train the published network in bfloat16 on a clip of REDS's size; seconds and share of waiting."""
    training = TrainingConfig(
        iterations=iterations,
        batch_size=windows,
        learning_rate=2e-4,
        betas=(0.9, 0.99),
        schedule="one_cycle",
        minimum_learning_rate=1e-7,
        checkpoint_interval=iterations,
        validation_interval=iterations,
        log_interval=iterations // 3,
        precision="bfloat16",
        deterministic=False,
    )
    names: dict[str, Any] = {"study": "bench", "variant": "full", "title": "Full", "question": "How fast?"}
    model = ModelConfig(feed_forward="unaligned")  # SPyNet would need weights
    variant = Variant(
        **names, because=None, changes={}, train_on="reds", degradation="BI", model=model, training=training
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_store([write_clip(folder)], folder / "store")
        index = folder / "store" / "index.json"
        (folder / "full.yaml").write_text(yaml.safe_dump(variant.to_dict()))
        out = folder / "run" / "weights.safetensors"
        train(config=folder / "full.yaml", seed=1, store=index, validation_store=index, out=out)
        lines = [json.loads(line) for line in out.with_name("train.jsonl").read_text().splitlines()]
    *_, before_last, last = lines  # the last interval holds the validation and its start
    seconds = before_last["seconds_per_iteration"]
    return {
        "measure": "training",
        "per": "step",
        "seconds": seconds,
        "windows_a_second": windows / seconds,
        "waiting_share": before_last["waiting_share"],
        "peak_gib": last["memory_gib"],
    }


def measure(out: Path | None, rounds: int) -> list[Row]:
    """Run every measure, print a verdict on each target, and write the rows to `out` as CSV.

    Raises InputError without a CUDA device.
    """
    if not torch.cuda.is_available():
        raise InputError("bench-gpu: no CUDA device is visible; run it on a machine with a GPU")
    rows = network.compare(rounds=rounds)
    rows.append(measure_training())
    results_csv.write(rows, out)
    print("\n".join(["", "Targets:", *(target.verdict(rows) for target in TARGETS)]))
    return rows


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--rounds", type=int, default=3)
    try:
        measure(**vars(parser.parse_args()))
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
