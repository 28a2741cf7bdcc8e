"""Kill a small training with SIGKILL at random moments, start it again each time, and compare what comes out.

    python tests/kill_training.py --kills 200

Each attempt is a process of its own, killed after a random time; every other one as soon after that as it is
seen writing a file (a checkpoint, the log, the weights). A training that comes to its end is compared, bit by
bit, with one that nobody disturbed; then the next one begins, until there were as many kills as asked for.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch._dynamo  # noqa: F401  (optimisers want it; an attempt is a fork and shall start at once)
from tiny_training import same_but_for_time, write_stores, write_variant

from vsrbench import training

TRAINING = {"iterations": 40, "validation_interval": 10, "log_interval": 5, "ema_decay": 0.9}


def survive(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Counts of kills, of trainings that came to their end, and of kills in the middle of writing a file."""
    options = write_stores(folder) | {
        "config": write_variant(folder / "full.yaml", training=TRAINING),
        "seed": 1,
    }
    undisturbed = folder / "undisturbed" / "weights.safetensors"
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
    child = os.fork()
    if child == 0:
        _train_and_leave(options)
    if limit is not None:
        time.sleep(limit)
        if round(1000 * limit) % 2:
            _wait_until_writing(options["out"].parent, child)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    messages = options["out"].with_name("messages").read_text()
    assert os.WEXITSTATUS(status) == 0, f"the training failed by itself:\n{messages}"
    return True


def _wait_until_writing(folder: Path, child: int) -> None:
    while (
        not any(folder.rglob(".*.partial*"))
        and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.0005)


def _train_and_leave(options: dict) -> None:
    status = 1
    try:
        options["out"].parent.mkdir(exist_ok=True)
        os.dup2(
            os.open(options["out"].with_name("messages"), os.O_CREAT | os.O_TRUNC | os.O_WRONLY),
            sys.stderr.fileno(),
        )
        training.train(**options, device="cpu")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(survive(Path(folder), arguments.kills, arguments.seed))
