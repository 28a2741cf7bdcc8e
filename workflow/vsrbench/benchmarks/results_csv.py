"""The CSV that keeps what a benchmark found, and the command line of the small ones."""

import argparse
import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vsrbench.core.files import atomic_write
from vsrbench.core.provenance import machine_card

Row = dict[str, Any]  # keys are columns
Finding = tuple[str, list[Row]]  # in words, and as rows


def run(description: str, measure: Callable[[], Iterable[Finding]]) -> None:
    """Run the command line of a benchmark: print its findings as they come, and write them to `--out`."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, help="CSV to write")
    out, rows = parser.parse_args().out, []
    for words, found in measure():
        print(words, flush=True)
        rows += found
    write(rows, out)


def write(rows: list[Row], out: Path | None) -> None:
    """Write the rows, whose keys are columns, each with the machine; do nothing without `out`."""
    if out is None:
        return
    machine = json.dumps(machine_card())
    with atomic_write(out) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, [*dict.fromkeys(key for row in rows for key in row), "machine"])
        writer.writeheader()
        writer.writerows(row | {"machine": machine} for row in rows)


def quantities(measure: str, found: dict[str, float], target: float | None = None) -> list[Row]:
    """Return a row for each quantity of a measurement; the target, if any, is the `ratio` to be reached."""
    return [
        {
            "measure": measure,
            "quantity": quantity,
            "value": f"{value:.6g}",
            "target": target if quantity == "ratio" else None,
        }
        for quantity, value in found.items()
    ]
