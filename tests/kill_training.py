"""Kill a small training with SIGKILL at random moments, start it again each time, and compare what comes out.

    python tests/kill_training.py --kills 200

Each attempt is a process of its own, killed after a random time; every other one as soon after that as it is
seen writing a file (a checkpoint, the log, the weights). A training that comes to its end is compared, bit by
bit, with one that nobody disturbed; then the next one begins, until there were as many kills as asked for.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tiny_training import same_but_for_time, write_stores, write_variant

from vsrbench.training import train_vsr

# Attempts are forks, so that they start at once, of a process that has imported all and computed nothing yet:
# a fork of one whose threads have run may crash.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["vsrbench.training.train_vsr", "torch._dynamo"]
)  # the second for the optimiser

TRAINING = {"iterations": 40, "validation_interval": 10, "log_interval": 5, "ema_decay": 0.9}


def survive(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Counts of kills, of trainings that came to their end, and of kills in the middle of writing a file."""
    options = write_stores(folder) | {
        "config": write_variant(folder / "full.yaml", training=TRAINING),
        "seed": 1,
    }
    undisturbed = folder / "undisturbed" / "weights.safetensors"
    _warm_up()
    began = time.monotonic()
    assert _attempt(options | {"out": undisturbed}, limit=None)
    duration = time.monotonic() - began

    chance = random.Random(seed)
    counts = {"kills": 0, "while_writing": 0, "trainings": 0}
    while counts["kills"] < kills:
        out = folder / f"killed_{counts['trainings']}" / "weights.safetensors"
        while not _attempt(options | {"out": out}, limit=chance.uniform(0, duration)):
            counts["kills"] += 1
            counts["while_writing"] += any(out.parent.rglob(".*.partial*"))
        assert out.read_bytes() == undisturbed.read_bytes(), f"{out}: other weights than {undisturbed}"
        assert _log(out) == _log(undisturbed), f"{out.parent}: another log than {undisturbed.parent}"
        counts["trainings"] += 1
    return counts


def _log(out: Path) -> list[dict]:
    lines = (out.parent / "train.jsonl").read_text().splitlines()
    return same_but_for_time([json.loads(line) for line in lines])


def _attempt(options: dict, limit: float | None) -> bool:
    """Train in a process of its own, killed after `limit` seconds; whether it came to its end."""
    child = SERVER.Process(target=_train, args=(options,))
    child.start()
    child.join(limit)
    if limit is not None:
        if round(1000 * limit) % 2:
            _wait_until_writing(options["out"].parent, child)
        child.kill()
        child.join()
    if child.exitcode == -signal.SIGKILL:
        return False
    messages = options["out"].with_name("messages").read_text()
    assert child.exitcode == 0, f"the training ended by itself with {child.exitcode}:\n{messages}"
    return True


def _warm_up() -> None:
    """Start the server, so that the first attempt takes as long as the others."""
    child = SERVER.Process(target=int)
    child.start()
    child.join()


def _wait_until_writing(folder: Path, child: multiprocessing.Process) -> None:
    while child.is_alive() and not any(folder.rglob(".*.partial*")):
        time.sleep(0.0005)


def _train(options: dict) -> None:
    options["out"].parent.mkdir(exist_ok=True)
    messages = os.open(options["out"].with_name("messages"), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(messages, sys.stderr.fileno())
    train_vsr.train(**options, device="cpu")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(survive(Path(folder), arguments.kills, arguments.seed))
