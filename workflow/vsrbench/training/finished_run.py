"""Train, then remove the checkpoints, which nothing needs once the weights are written.

Apart from `train_vsr`, whose code decides the weights: an edit here repeats no training.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from vsrbench.training.checkpoint import keep_result
from vsrbench.training.run_lock import lock_run
from vsrbench.training.train_vsr import train

logger = logging.getLogger("vsrbench")


def train_and_tidy(*, out: Path, keep_checkpoints: bool = False, **options: Any) -> None:
    """Train as `train_vsr.train`; then remove the checkpoints of the run, unless `keep_checkpoints`.

    Of several processes that train together, the first does it.
    """
    train(out=out, **options)
    if not keep_checkpoints and os.environ.get("RANK", "0") == "0":
        tidy(out)


def tidy(weights: Path) -> int:
    """Remove the checkpoints beside the weights of a finished training; return the bytes freed."""
    identity = json.loads((weights.parent / "provenance.json").read_bytes())["identity"]
    with lock_run(weights.parent, counted=False):
        freed = keep_result(weights.parent / "checkpoints", weights, identity)
    if freed:
        logger.info("%s: removed %.1f MiB of checkpoints", weights.parent, freed / 2**20)
    return freed
