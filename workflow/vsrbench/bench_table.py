"""The command line of the small benchmarks, and the CSV that keeps what they found."""

import argparse
import csv
import json
from pathlib import Path

from vsrbench.files import atomic_write
from vsrbench.provenance import machine_card

COLUMNS = ("measure", "quantity", "value", "target", "machine")


def read_out(description: str) -> Path | None:
    """`--out`: the CSV to write, None without it."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    return parser.parse_args().out


def write(out: Path | None, measures: dict[str, tuple[dict[str, float], float]]) -> None:
    """A row for each quantity of each measure, with the machine; a target is what the `ratio` is to reach."""
    if out is None:
        return
    machine = json.dumps(machine_card())
    with atomic_write(out) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for measure, (found, target) in measures.items():
            for quantity, value in found.items():
                reach = target if quantity == "ratio" else ""
                writer.writerow([measure, quantity, f"{value:.6g}", reach, machine])
