"""GPU leases: at most one run per GPU on a machine that several runs share.

A lease is a file lock in a folder that all users of the machine share. The kernel releases it when the
process ends, however that happens, so there is nothing to clean up; `fuser` shows who holds one.
"""

import fcntl
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import IO

from vsrbench.core.errors import InputError

logger = logging.getLogger("vsrbench")

FOLDER = Path("/tmp/vsrbench_gpus")


@contextmanager
def lease_gpu(folder: Path = FOLDER) -> Iterator[str | None]:
    """Lease a free GPU and hide all others; wait while all are in use. Yields its UUID, None without GPUs.

    Under `torchrun`, a process leases the GPU of its local rank and raises InputError if that is in use:
    waiting could deadlock two groups of processes. Call this before CUDA is initialised.
    """
    gpus = visible_gpus()
    rank = os.environ.get("LOCAL_RANK")
    if rank is not None:
        gpus = gpus[int(rank) :][:1]
    if not gpus:
        yield None
        return
    gpu, lock = _wait_for_one(gpus, folder, patient=rank is None)
    with lock:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order in which nvidia-smi counts
        if rank is None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield gpu


def visible_gpus() -> list[str]:
    """List the UUIDs of the GPUs in CUDA_VISIBLE_DEVICES, in its order; by default of all GPUs.

    As in CUDA, the list ends at the first name that is not a GPU: -1, or Slurm's NoDevFiles.
    """
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        rows = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    # Other output is possible: "No devices were found", with status 0.
    uuids = dict(re.findall(r"^(\d+), (\S+)$", rows, re.MULTILINE))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = list(uuids) if chosen is None else chosen.replace(" ", "").split(",")
    known = takewhile(lambda name: name in uuids or name.startswith(("GPU-", "MIG-")), names)
    return [uuids.get(name, name) for name in known]


def share_gpus(arguments: list[str]) -> None:
    """Inside a Slurm job with several GPUs, restart this command under `torchrun`, one process per GPU.

    `arguments` are those of the command line, without the program. Elsewhere this does nothing.
    """
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if "SLURM_JOB_ID" not in os.environ or "LOCAL_RANK" in os.environ or len(gpus) == 1:
        return
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if threads := os.environ.get(variable):
            os.environ[variable] = str(max(1, int(threads) // len(gpus)))
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={len(gpus)}",
    ]
    # After the dashes, because torchrun would read our options as abbreviations of its own.
    os.execv(sys.executable, [*torchrun, "-m", "--", "vsrbench", *arguments])


def _wait_for_one(gpus: list[str], folder: Path, patient: bool) -> tuple[str, IO[str]]:
    told = False
    while True:
        for gpu in gpus:
            file = _open(folder, gpu)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return gpu, file
            except BlockingIOError:
                file.close()
        if not patient:
            raise InputError(f"{gpus[0]}: GPU in use by another run; list free ones in CUDA_VISIBLE_DEVICES")
        if not told:
            logger.info("all GPUs are in use by other runs (%s); waiting for one", ", ".join(gpus))
            told = True
        time.sleep(1)


def _open(folder: Path, gpu: str) -> IO[str]:
    """Open the lock file of a GPU read-only, since another user may own it."""
    path = folder / gpu.replace("/", "_")
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # regardless of the umask
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
        path.chmod(0o644)
    return open(path)
