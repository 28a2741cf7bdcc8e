"""Summarise the failed jobs of a run of Snakemake, with the tail of their logs."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

LINES = 5  # of each log
_ERROR = re.compile(r"^Error in rule (?P<rule>\w+):\n(?P<facts>(?:    .*\n)+)", re.MULTILINE)


def log_tail(log: Path | str, failures: Iterable[tuple[str, Sequence[str]]] = ()) -> str:
    """Return the jobs that failed for good, each with the tail of its logs; empty if there are none.

    `log` is the log of Snakemake itself. A job that a retry completed is left out. `failures`, the rule and
    logs of each failed job, are used if that log names none, as with `--quiet`.
    """
    text = Path(log).read_text(errors="replace")
    done = set(re.findall(r"^Finished jobid: (\d+) ", text, re.MULTILINE))
    failed = {}
    for error in _ERROR.finditer(text):
        facts = dict(re.findall(r"^    (\w+): (.*)$", error["facts"], re.MULTILINE))
        if facts["jobid"] not in done:
            failed[facts["jobid"]] = _describe(error["rule"], facts)
    quiet = (_describe(rule, {"log": ", ".join(logs)}) for rule, logs in failures)
    return "\n".join(failed.values() or quiet)


def _describe(rule: str, facts: dict[str, str]) -> str:
    """Format the rule, Slurm's status, and the logs with the tail of the first that is not empty."""
    status = re.search(r"status is: '(\w+)'", facts.get("message", ""))
    lines = [f"{rule} failed{f', Slurm status {status[1]}' if status else ''}:"]
    logs = [Path(name) for name in facts.get("log", "").partition(" (check")[0].split(", ") if name]
    end: list[str] = []
    for path in logs:
        lines.append(f"  {os.path.relpath(path)}")
        if not end:
            end = _end(path)
            lines += [f"    {line}" for line in end]
    return "\n".join(lines)


def _end(path: Path) -> list[str]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    text = text.rpartition("\nRuleException:")[0] or text  # what follows is Snakemake's, not the program's
    return [line for line in text.splitlines() if line.strip()][-LINES:]
