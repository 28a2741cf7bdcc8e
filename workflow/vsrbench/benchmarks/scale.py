"""What data of the published sizes take: seconds and memory of each step, at several shares of the clips.

`python -m vsrbench.benchmarks.scale --out results/bench_scale.csv [--shares 0.1 0.2 1]`

Clips have the names, numbers and frames of Vimeo-90K and REDS. Their frames are tiny and links to a few
files, so that what grows with the number of clips shows, and not what grows with pixels.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vsrbench.benchmarks import results_csv
from vsrbench.core.files import ROOT
from vsrbench.data import datasets
from vsrbench.data.clips import write_frame
from vsrbench.data.store_frames import store_split
from vsrbench.data.verification import verify

EDGE = 32  # of a ground-truth frame
WORKERS = 2
LINKS = 60_000  # to one file; file systems allow 65,000
CLIPS_PER_FOLDER = 1000  # of Vimeo-90K


def _measure(
    dataset: str, make: Callable[[Path, float], int], share: float, folder: Path
) -> list[dict[str, Any]]:
    clips = make(folder / "data", share)
    manifest = folder / "manifest.json"
    jobs: dict[str, Callable[[], None]] = {
        "verify": partial(_verify, dataset, folder),
        "store train": partial(_store, folder, "train"),
        "store validation": partial(_store, folder, "validation"),
    }
    rows = []
    for step, job in jobs.items():
        seconds, gib = _in_a_process(job)
        rows.append({"step": step, "seconds": seconds, "peak_gib": gib})
    seconds, gib = _dry_run(dataset, folder)
    rows.append({"step": "dry run", "seconds": seconds, "peak_gib": gib})
    files = sum(len(names) for _, _, names in os.walk(folder / "store"))
    facts = {"dataset": dataset, "share": share, "clips": clips}
    more = {"manifest_mb": manifest.stat().st_size / 1e6, "store_files": files}
    return [facts | row | more for row in rows]


def make_vimeo90k(root: Path, share: float) -> int:
    """Write the official numbers of clips into the lists, and a share of the clips; return their number."""
    septuplets = root / "vimeo_septuplet"
    counts = {"sep_trainlist.txt": 64_612, "sep_testlist.txt": 7_824}
    link, first, made = _Links(root), 0, 0
    for listed, count in counts.items():
        names = [
            f"{number // CLIPS_PER_FOLDER + 1:05d}/{number % CLIPS_PER_FOLDER + 1:04d}"
            for number in range(first, first + count)
        ]
        septuplets.mkdir(exist_ok=True)
        (septuplets / listed).write_text("\n".join(names) + "\n")
        chosen = names[: round(share * count)]
        for name in chosen:
            link.frames(septuplets / "sequences" / name, [f"im{t}.png" for t in range(1, 8)])
        first, made = first + count, made + len(chosen)
    return made


def make_reds(root: Path, share: float) -> int:
    """Write a share of the clips of 100 frames that REDS has for training and validation."""
    link = _Links(root)
    splits = {"train_sharp": range(240), "val_sharp": range(30)}
    chosen = {split: [*numbers][: max(1, round(share * len(numbers)))] for split, numbers in splits.items()}
    for split, numbers in chosen.items():
        for number in numbers:
            link.frames(root / split / f"{number:03d}", [f"{t:08d}.png" for t in range(100)])
    return sum(map(len, chosen.values()))


class _Links:
    """Frames that are links to a file of random pixels, a new one after every `LINKS`."""

    def __init__(self, root: Path):
        root.mkdir(parents=True)
        self.root, self.count = root, 0

    def frames(self, folder: Path, names: list[str]) -> None:
        folder.mkdir(parents=True)
        for name in names:
            source = self.root / f".frame_{self.count // LINKS}.png"
            if not source.exists():
                pixels = np.random.default_rng(self.count).integers(0, 256, (EDGE, EDGE, 3))
                write_frame(source, pixels.astype(np.uint8))
            os.link(source, folder / name)
            self.count += 1


def _verify(dataset: str, folder: Path) -> None:
    verify(dataset, folder / "data", "BI", folder / "manifest.json", workers=WORKERS)


def _store(folder: Path, split: str) -> None:
    store_split(folder / "manifest.json", split, folder / "store" / split / "index.json", workers=WORKERS)


def _in_a_process(job: Callable[[], None]) -> tuple[float, float]:
    """Run a job in a new process; return its seconds and the peak of its memory in GiB."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (job,))


def _timed(job: Callable[[], None]) -> tuple[float, float]:
    for name, find_clips in datasets.LAYOUTS.items():  # frames here are smaller than the official ones
        datasets.LAYOUTS[name] = lambda *place, find=find_clips: [
            replace(clip, size=None) for clip in find(*place)
        ]
    begun = time.perf_counter()
    job()
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _dry_run(dataset: str, folder: Path) -> tuple[float, float]:
    """Plan the shipped study of a data set; it does not read the clips."""
    study = yaml.safe_load((ROOT / "workflow" / "config" / f"{dataset}.yaml").read_text())
    scored = next(name for name in study["evaluate_on"] if name.startswith(dataset))
    study |= {"study": f"scale_{dataset}", "evaluate_on": {scored: "required"}}
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--configfile", str(config)]
    environment = os.environ | {"VSRBENCH_DATA": str(folder / "data"), "SLURM_CONF": "/dev/null"}
    begun = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def _lines(shares: Sequence[float]) -> Iterator[results_csv.Finding]:
    for dataset, make in (("reds", make_reds), ("vimeo90k", make_vimeo90k)):
        for share in shares:
            with tempfile.TemporaryDirectory(dir=ROOT / "results") as folder:
                rows = _measure(dataset, make, share, Path(folder))
            words = ", ".join(
                f"{row['step']} {row['seconds']:.1f} s, {row['peak_gib']:.2f} GiB" for row in rows
            )
            yield f"{dataset}, {rows[0]['clips']:,} clips: {words}", rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="of the clips")
    arguments, sys.argv[1:] = parser.parse_known_args()
    results_csv.run(__doc__, partial(_lines, arguments.shares))
