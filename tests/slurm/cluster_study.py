"""A study on a cluster: Snakemake started beside the test, and what its jobs and trainings are doing."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workflow_copy import Workflow

PATIENCE = 400  # seconds; a job takes 5 to 15 to start, more where the machine has other work
PROFILE = "workflow/profiles/slurm/config.yaml"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.5)
    return value


def slurm(*command: str) -> str:
    """What a Slurm command prints; a controller that is busy for a moment is asked again."""
    for _ in range(5):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if "timed out" not in answer.stderr:
            break
        time.sleep(2)
    assert answer.returncode == 0, f"{command}: {answer.stderr}"
    return answer.stdout.strip()


def fact(job: int, name: str) -> str:
    """What the controller says of a job, also after its end: JobState, Restarts, NodeList, ..."""
    facts = slurm("scontrol", "--oneliner", "show", "job", str(job)).split()
    return next(word.partition("=")[2] for word in facts if word.startswith(f"{name}="))


def shrink_jobs(workflow: Workflow) -> None:
    """Let jobs ask for what a small machine has, and compute on one thread, with the same bits everywhere."""
    for old, new in {
        "train: ?4 * gpus_per_training": "train: 1",
        "train_flow: 4": "train_flow: 1",
        "evaluate: 4": "evaluate: 1",
        "measure_runtime: 4": "measure_runtime: 1",
        "--open-mode=append'\"": "--open-mode=append'\"\n        mem_mb: 3000",
    }.items():
        workflow.edit(PROFILE, old, new)


class Job(NamedTuple):
    """One line of the queue."""

    id: int
    state: str
    node: str
    comment: str  # rule_<rule>_wildcards_<study>_<variant>_<seed>


class Start:
    """One start of Snakemake, as if typed in a terminal."""

    def __init__(self, workflow: Workflow, *arguments: str):
        self.output = workflow.folder / f"output_{time.monotonic_ns()}.txt"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                workflow.command("--profile", "slurm", *arguments),
                cwd=workflow.folder,
                env=workflow.environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                # Where the tests run in the background, their children would ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def end(self, status: int = 0) -> str:
        """Wait for the end; the output."""
        self.process.wait(3 * PATIENCE)
        assert self.process.returncode == status, self.text
        return self.text

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out; the jobs live on."""
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> str:
        """Ctrl-C; the output."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        return self.text


class ClusterStudy:
    """The tiny study in a folder of its own: one training, whose data are made already."""

    run = "results/tiny/runs/full/seed_1"
    weights = f"{run}/weights.safetensors"

    def __init__(self, workflow: Workflow):
        self.workflow, self.folder = workflow, workflow.folder
        self.starts: list[Start] = []

    def start(self, *arguments: str) -> Start:
        """Start Snakemake."""
        self.starts.append(Start(self.workflow, *arguments))
        return self.starts[-1]

    def begin(self, *arguments: str) -> tuple[Start, int]:
        """Start the training, and wait until it has saved for the first time; the job's id comes with it."""
        start = self.start(self.weights, *arguments)
        return start, self.wait_for_progress()

    def wait_for_progress(self) -> int:
        """Wait until the training has saved once more; its job's id."""
        before = self.saved()
        wait_until(lambda: self.saved() > before, f"a checkpoint after {before}")
        return wait_until(lambda: [job.id for job in self.queue() if job.state == "RUNNING"], "a job")[0]

    def vsrbench(self, *arguments: str) -> subprocess.CompletedProcess:
        """A command of the copy; on one thread, as its jobs compute."""
        return subprocess.run(
            [sys.executable, "-m", "vsrbench", *arguments],
            cwd=self.folder,
            env=self.workflow.environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE,
        )

    def train_undisturbed(self) -> Path:
        """The folder of the same training outside the cluster, in one go."""
        store = "results/tiny/data/photo_motion/store"
        answer = self.vsrbench(
            *("train", "--config", "results/tiny/configs/full.yaml", "--seed", "1"),
            *("--store", f"{store}/train/index.json", "--validation-store", f"{store}/validation/index.json"),
            *("--flow-weights", "results/tiny/flow/weights.safetensors"),
            *("--out", "undisturbed/weights.safetensors"),
        )
        assert answer.returncode == 0, answer.stdout
        return self.folder / "undisturbed"

    def saved(self) -> int:
        """The iteration of the newest checkpoint; 0 without one."""
        names = [path.name for path in self.folder.glob(f"{self.run}/checkpoints/*/[0-9]*.pt")]
        return max((int(name.split(".")[0]) for name in names), default=0)

    def owner(self) -> dict[str, Any]:
        """Who holds, or last held, the run directory."""
        return json.loads((self.folder / self.run / "lock").read_text())

    def queue(self) -> list[Job]:
        """The jobs of this folder that are pending or running, the oldest first."""
        jobs = []
        for line in slurm("squeue", "--noheader", "--sort=i", "--format=%Z|%A|%T|%N|%k").splitlines():
            folder, job, *facts = line.split("|")
            if folder == str(self.folder):
                jobs.append(Job(int(job), *facts))
        return jobs

    def log(self, job: int) -> str:
        """What a job printed, over all its attempts; nothing while its node has not made the file."""
        return "".join(path.read_text() for path in self.folder.glob(f"logs/slurm/*/*/{job}.log"))

    def leave(self) -> None:
        """End whatever is still there."""
        for start in self.starts:
            if start.process.poll() is None:
                start.kill()
        if jobs := self.queue():
            slurm("scancel", *(str(job.id) for job in jobs))
            wait_until(lambda: not self.queue(), "cancelled jobs to end")
