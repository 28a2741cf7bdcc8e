"""Two trainings that ought to be one."""

import json
from pathlib import Path

from tiny_training import same_but_for_time


def assert_same_training(run: Path, undisturbed: Path) -> None:
    """Weights bit by bit, and the log line by line but for times."""
    assert (run / "weights.safetensors").read_bytes() == (undisturbed / "weights.safetensors").read_bytes()
    logs = [
        [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        for folder in (run, undisturbed)
    ]
    assert same_but_for_time(logs[0]) == same_but_for_time(logs[1])
