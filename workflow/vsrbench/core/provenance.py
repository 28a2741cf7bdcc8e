"""Provenance of results: the code they depend on, the machine, and the time taken."""

import ast
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from vsrbench.core.files import ROOT, atomic_write

_PACKAGES = {"models": ROOT / "models", "vsrbench": ROOT / "workflow" / "vsrbench"}

# The entry module of each step; the rest of its code is found by following imports.
STEPS = {
    "generate": "vsrbench.data.photo_motion",
    "generate_permuted_cells": "vsrbench.data.permuted_cells",
    "verify": "vsrbench.data.verification",
    "store": "vsrbench.data.store_frames",
    "train_flow": "vsrbench.training.train_flow",
    "import_flow": "vsrbench.training.train_flow",
    "import_weights": "vsrbench.training.import_weights",
    "train": "vsrbench.training.train_vsr",
    "choose_learning_rate": "vsrbench.training.tuning",
    "gate": "vsrbench.evaluation.gate",
    "evaluate": "vsrbench.evaluation.evaluate",
    "inspect": "vsrbench.evaluation.inspect_network",
    "measure_reach": "vsrbench.evaluation.reach",
    "compare_reach": "vsrbench.report.reach_summary",
    "measure_runtime": "vsrbench.evaluation.runtime",
    "restore": "vsrbench.evaluation.restore",
    "make_tables": "vsrbench.report.tables",
    "make_figures": "vsrbench.report.figures",
    "make_report": "vsrbench.report.html_report",
    "learn_patterns": "vsrbench.patterns.learn",
    "measure_gradients": "vsrbench.patterns.gradients",
    "summarise_patterns": "vsrbench.patterns.summary",
}

# Files of the repository that a step reads, besides its code.
_READS = {
    "import_weights": ["models/official.py"],  # neutral elsewhere
    "verify": ["workflow/reference/clips.csv"],
    "gate": ["workflow/reference/anchors.csv"],
    "make_tables": ["workflow/reference/published_*", "ablations/claims.yaml"],
    "make_report": ["workflow/reference/published_*", "workflow/report/*", "ablations/claims.yaml"],
}

# Modules that cannot change a result: their decisions are recorded elsewhere (the resolved configuration), or
# concern only how and where files are written. Editing them must not repeat days of training.
_NEUTRAL = {
    "models.config",
    "models.own_config",
    "models.official",  # reads and writes the released code's files, which no study trains
    "vsrbench",
    "vsrbench.training.checkpoint",
    "vsrbench.core.config",
    "vsrbench.core.errors",
    "vsrbench.core.files",
    "vsrbench.core.gpu_lease",
    "vsrbench.core.lineage",
    "vsrbench.core.old_results",
    "vsrbench.training.preemption",
    "vsrbench.core.provenance",
    "vsrbench.training.run_lock",
    "vsrbench.training.training_log",
    "vsrbench.tracking.wandb_mirror",
    "vsrbench.training.resource_usage",
}

_VERSIONS = (
    "torch",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "av",
    "lpips",
    "safetensors",
)


def code_digest(step: str) -> str:
    """Compute a digest (12 hex digits) of the parsed source and the reference files that a step depends on.

    `step` is a key of STEPS. Comments, docstrings and formatting do not change the digest.
    """
    digest = hashlib.sha256()
    for name, code in sorted(_project_modules(STEPS[step]).items()):
        digest.update(f"{name}\n{code}\n".encode())
    for path in sorted(path for pattern in _READS.get(step, ()) for path in ROOT.glob(pattern)):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def config_digest(config: dict[str, Any]) -> str:
    """Compute a digest (12 hex digits) of a configuration, regardless of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def _project_modules(entry: str) -> dict[str, str]:
    """Return the parsed source of `entry` and of every project module it imports, directly or not."""
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or name in _NEUTRAL or path is None:
            continue
        found[name], imported = _parse(name, path.read_text())
        waiting.extend(imported)
    return found


@cache  # the steps share most modules, and every start of Snakemake computes all digests
def _parse(module: str, source: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's syntax tree without docstrings, as text, and the names that it imports."""
    tree = ast.parse(source)
    imported = tuple(_imports(module, tree))
    return ast.dump(_without_docstrings(tree)), imported


def _source(module: str) -> Path | None:
    package, *rest = module.split(".")
    if package not in _PACKAGES:
        return None
    stem = _PACKAGES[package].joinpath(*rest)
    for path in (stem / "__init__.py", stem.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _imports(module: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, (
                f"{module}: the code digest does not follow relative imports"
            )
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return tree


def machine_card() -> dict[str, Any]:
    """Describe this machine: processor, threads, memory, device, driver, library versions and load."""
    import psutil
    import torch

    card: dict[str, Any] = {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _VERSIONS},
        "device": "cpu",
    }
    if torch.cuda.is_available():
        card["device"] = torch.cuda.get_device_name()
        card["cuda"] = torch.version.cuda
        card["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
        card["driver"] = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return card


def begin(step: str) -> dict[str, Any]:
    """Record code and time at the start of a step (of STEPS), since files may be edited while it runs."""
    return {
        "step": step,
        "revision": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "uncommitted_changes": bool(_output("git", "-C", str(ROOT), "status", "--porcelain")),
        "code_digest": code_digest(step),
        "started": _now(),
    }


def write_provenance(path: Path, begun: dict[str, Any], **facts: Any) -> None:
    """Write `provenance.json` atomically: the record of `begin`, the end time, the machine and `facts`.

    Facts must be JSON types. The machine and hours are those of the last attempt, so a run that may be
    requeued adds the device-hours of all attempts.
    """
    ended = _now()
    elapsed = datetime.fromisoformat(ended) - datetime.fromisoformat(begun["started"])
    record = {
        **begun,
        "ended": ended,
        "hours": round(elapsed.total_seconds() / 3600, 5),
        "machine": machine_card(),
        **facts,
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """Return the output of a command, or None if it is not installed or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
