"""`vsrbench status`: one screen that says how a study stands, without asking Snakemake."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from vsrbench.orchestration.training_progress import (
    SPYNET,
    Progress,
    file_system_time,
    list_trainings,
    read_progress,
)

RUNNING = ("", "", "node", "iteration", "rate", "left", "loss", "attempt")
ANSWER_SECONDS = 1.2  # that Slurm has for its answer: the screen is right without it, but for jobs put back
LISTED = 20  # running and failed trainings that a screen has room for


def status(*, study: str, results: Path = Path("results"), watch: int | None = None) -> None:
    """Print how the study named `study` stands; with `watch`, again every so many seconds until interrupted.

    Reads files below `results/<study>` and asks `squeue` once, where that is installed. Raises InputError if
    there is no such study.
    """
    while True:
        text = describe(study, results)
        if watch is None:
            print(text)
            return
        print(f"\033[H\033[2J{text}", flush=True)
        time.sleep(watch)


def describe(study: str, results: Path) -> str:
    """Return the screen as text."""
    folder = results / study
    now = file_system_time(folder)
    jobs = _slurm_jobs()
    queued = {job for job, state in jobs.items() if state == "PENDING"}
    found = [read_progress(training, now, queued) for training in list_trainings(study, results)]
    running = [each for each in found if each.state == "running"]
    failed = [each for each in found if each.state == "failed"]
    parts = [
        f"{study}, {datetime.fromtimestamp(now).astimezone():%Y-%m-%d %H:%M %Z}: {_outlook(found, now)}",
        _networks(found),
        _running(running),
        "\n".join(_failed(each) for each in failed[:LISTED]) + _more(failed),
        "\n".join(filter(None, [_other_files(folder), _count_jobs(jobs)])),
    ]
    return "\n\n".join(filter(None, parts))


def _outlook(found: list[Progress], now: float) -> str:
    """Say how much is done, and when trainings end if as many go on at once as now."""
    devices = max((each.devices or 1 for each in found), default=1)
    pace = _seconds_by_network(found)
    used = sum(_device_hours_used(each, devices) for each in found)
    rests = [_seconds_left(each, pace) for each in found if each.state != "done"]
    done = f"{sum(each.state == 'done' for each in found)} of {len(found)} trainings done"
    known = [rest for rest in rests if rest is not None]
    if len(known) < len(rests):
        return f"{done}; device-hours {used:.3g} used, what is left is known once a rate is logged"
    left = sum(known) * devices / 3600
    share = used / (used + left) if used + left else 1.0
    running = sum(each.state == "running" for each in found)
    text = f"{done}, {share:.0%} of the work; device-hours: {used:.3g} used, about {left:.3g} left"
    if not known:
        return text
    if not running:
        return f"{text}; no training is running"
    seconds = max(*known, sum(known) / running) if len(known) > 1 else known[0]
    end = datetime.fromtimestamp(now + seconds).astimezone()
    return f"{text}; with {running} at a time they end about {end:%Y-%m-%d %H:%M}"


def _seconds_by_network(found: Iterable[Progress]) -> dict[str, float]:
    """Average the seconds of an iteration of each network with any on record, and of all as ''."""
    rates: dict[str, list[float]] = {}
    for each in found:
        seconds = each.seconds
        if each.device_hours and each.training.iterations:
            seconds = 3600 * each.device_hours / (each.devices or 1) / each.training.iterations
        if seconds is not None:
            rates.setdefault(each.training.network, []).append(seconds)
    means = {network: fmean(values) for network, values in rates.items()}
    others = [mean for network, mean in means.items() if network != SPYNET]
    return means | ({"": fmean(others)} if others else {})


def _seconds_left(each: Progress, pace: dict[str, float]) -> float | None:
    if each.seconds_left is not None:
        return each.seconds_left
    seconds = pace.get(each.training.network, pace.get("" if each.training.network != SPYNET else SPYNET))
    return None if seconds is None else (each.training.iterations - each.iteration) * seconds


def _device_hours_used(each: Progress, devices: int) -> float:
    if each.device_hours is not None:
        return each.device_hours
    return each.iteration * (each.seconds or 0) * devices / 3600


def _networks(found: list[Progress]) -> str:
    """Make one line for each network: its trainings in each state, and its seeds."""
    rows = []
    for network in dict.fromkeys(each.training.network for each in found):
        mine = [each for each in found if each.training.network == network]
        counts = Counter(each.state for each in mine)
        which = [_mark(each) for each in mine if "rate" not in each.training.label]
        states = [counts[state] or "" for state in ("done", "running", "waiting", "failed")]
        rows.append([network, *states, " ".join(which[:LISTED]) + _more(which, " ")])
    head = ["network", "done", "running", "waiting", "failed", "each seed"]
    return tabulate(rows, head, "plain", disable_numparse=True, colalign=["left", *["right"] * 4, "left"])


def _mark(each: Progress) -> str:
    name = each.training.label.removeprefix("seed ")
    if each.state in ("done", "failed"):
        return f"{name}:{each.state}"
    if each.state == "waiting" and not each.iteration:
        return f"{name}:-"
    paused = "(waiting)" if each.state == "waiting" else ""
    return f"{name}:{each.iteration / each.training.iterations:.0%}{paused}"


def _running(running: list[Progress]) -> str:
    if not running:
        return ""
    rows = [_running_row(each) for each in running[:LISTED]]
    return tabulate(rows, RUNNING, "plain", disable_numparse=True) + _more(running)


def _running_row(each: Progress) -> list[str]:
    assert each.owner is not None  # or it would not be known to run
    job = f", job {each.owner.slurm_job}" if each.owner.slurm_job else ""
    left = each.seconds_left
    return [
        each.training.network,
        each.training.label,
        each.owner.host + job,
        f"{each.iteration:,} of {each.training.iterations:,}",
        f"{1 / each.seconds:.3g}/s" if each.seconds else "",
        "" if left is None else str(timedelta(seconds=round(left))),
        "" if each.loss is None else f"{each.loss:.4g}",
        str(each.owner.attempt),
    ]


def _failed(each: Progress) -> str:
    attempts = f", attempt {each.owner.attempt}" if each.owner else ""
    where = f"failed: {each.training.network} {each.training.label}{attempts}, iteration {each.iteration:,}"
    return f"{where}\n  {each.reason}\n  {os.path.relpath(each.training.log)}"


def _more(items: list, before: str = "\n") -> str:
    return f"{before}... and {len(items) - LISTED} more" if len(items) > LISTED else ""


def _other_files(folder: Path) -> str:
    """Count what is there besides trainings."""
    scored = sum(1 for _ in folder.glob("evaluations/*/*/seed_*.csv"))
    timed = sum(1 for _ in folder.glob("runtime/*.json"))
    ends = {"tables": folder / "tables" / "ablations.csv", "report": folder / "report.html"}
    there = [f"{name} {'written' if path.is_file() else 'not yet'}" for name, path in ends.items()]
    return f"Besides: {scored} scorings, {timed} runtimes; {', '.join(there)}"


def _slurm_jobs() -> dict[str, str]:
    """Return the state of each of this person's jobs in Slurm's queue, by id; {} without an answer."""
    try:
        command = ["squeue", "--me", "--noheader", "--format=%A %T"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split() for line in answer.stdout.splitlines())


def _count_jobs(jobs: dict[str, str]) -> str:
    counts = Counter(jobs.values())
    listed = ", ".join(f"{number} {state.lower()}" for state, number in counts.items())
    return f"Your jobs in Slurm: {listed}" if jobs else ""
