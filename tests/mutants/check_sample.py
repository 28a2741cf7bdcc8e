"""Apply each mutant of sample.yaml by itself, in a copy of the repository, and see the named tests fail.

Exits with 1 where one survives. The modules that take long to import are imported once; each mutant has a
process of its own, forked from there.
"""

import gc
import importlib
import os
import shutil
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("ablations", "models", "tests", "workflow", "pyproject.toml")
PRELOADED = (
    *("cv2", "hypothesis", "jsonschema", "lpips", "matplotlib.pyplot", "pandas", "scipy.stats"),
    *("skimage", "torch", "torch._dynamo", "torch.distributed.tensor", "torch.utils.flop_counter"),
)
# Set before torch is loaded: two threads that spin on busy cores cost five times as much.
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
PROCESSES = 2
Mutant = dict[str, str]


def main() -> int:
    mutants = yaml.safe_load(Path(__file__).with_name("sample.yaml").read_text())
    if faults := [fault for mutant in mutants if (fault := stale(mutant))]:
        print("\n".join(faults))
        return 1
    os.environ |= THREADS
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()  # or every process collects and copies what it shares with the others
    tests = sorted({test for mutant in mutants for test in mutant["tests"].split()})
    begun = time.monotonic()
    with TemporaryDirectory() as folder, get_context("fork").Pool(PROCESSES, maxtasksperchild=1) as pool:
        unchanged = pool.apply_async(run, (Path(folder), None, tests))
        codes = pool.imap(partial(run_mutant, Path(folder)), mutants)
        survivors = []
        for mutant, code in zip(mutants, codes, strict=True):
            print("." if code == 1 else "S", end="", flush=True)
            survivors += [mutant] if code != 1 else []
        passed = unchanged.get() == 0
    gc.unfreeze()
    print()
    for mutant in survivors:
        print(f"not noticed: {mutant['file']}: {mutant['old']!r} -> {mutant['new']!r} by {mutant['tests']}")
    if not passed:
        print("the tests fail on the unchanged code")
    killed = len(mutants) - len(survivors)
    print(f"{killed} of {len(mutants)} mutants noticed in {time.monotonic() - begun:.0f} s")
    return 0 if passed and not survivors else 1


def stale(mutant: Mutant) -> str | None:
    """Why a mutant no longer fits the code, None if it does."""
    count = (ROOT / mutant["file"]).read_text().count(mutant["old"])
    return None if count == 1 else f"{mutant['file']}: {mutant['old']!r} occurs {count} times, expected once"


def run_mutant(folder: Path, mutant: Mutant) -> int:
    return run(folder, mutant, mutant["tests"].split())


def run(folder: Path, mutant: Mutant | None, tests: list[str]) -> int:
    """pytest's exit status: 0 where all tests pass, 1 where one fails, more where they cannot run."""
    copy = folder / str(os.getpid())
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    if mutant is not None:
        file = copy / mutant["file"]
        file.write_text(file.read_text().replace(mutant["old"], mutant["new"]))
    paths = [str(copy), str(copy / "workflow")]
    sys.path[:0], os.environ["PYTHONPATH"] = paths, os.pathsep.join(paths)
    os.chdir(copy)
    with open(folder / f"{os.getpid()}.log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        options = ["-xq", "-p", "no:cacheprovider", "-m", "not slow", "-o", "timeout=120"]
        code = pytest.main([*options, *(f"tests/{test}" for test in tests)])
    shutil.rmtree(copy)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
