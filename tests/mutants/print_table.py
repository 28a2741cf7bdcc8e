"""Print what mutmut found in a folder `mutants`: the table of docs/mutants.md, then the survivors."""

import json
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code


def main(folder: Path) -> None:
    print("| module | mutants | run | noticed | timed out | survived | without a test | share noticed |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    survivors = []
    for path in sorted(folder.rglob("*.py.meta")):
        statuses = {
            name: status_by_exit_code[code]
            for name, code in json.loads(path.read_text())["exit_code_by_key"].items()
        }
        counts = Counter(statuses.values())
        run = len(statuses) - counts["not checked"]
        if run:
            noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
            found = (counts[key] for key in ("killed", "timeout", "survived", "no tests"))
            module = path.relative_to(folder).as_posix().removesuffix(".meta")
            row = (f"`{module}`", len(statuses), run, *found, f"{noticed / run:.0%}")
            print(f"| {' | '.join(map(str, row))} |")
            survivors += [name for name, status in statuses.items() if status == "survived"]
    print("", *survivors, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
