"""The last words of the jobs that failed: among dozens of jobs a person would not find them."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

LINES = 5  # of each log
_ERROR = re.compile(r"^Error in rule (?P<rule>\w+):\n(?P<facts>(?:    .*\n)+)", re.MULTILINE)


def log_tail(log: Path | str, failures: Iterable[tuple[str, Sequence[str]]] = ()) -> str:
    """What failed in the run of Snakemake that wrote `log` and no retry made good; empty if nothing.

    `failures` are rule and logs of failed jobs, for a run so quiet that its log does not name them.
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
    """The rule, what Slurm says, and the logs with the end of the first that has any text."""
    status = re.search(r"status is: '(\w+)'", facts.get("message", ""))
    lines = [f"{rule} failed{f', Slurm says {status[1]}' if status else ''}:"]
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
