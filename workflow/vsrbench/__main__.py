"""The command line: `vsrbench <command>`, one command for each step that can be run by hand.

Exit status: 0 success, 2 invalid input (reported in one line), 75 interrupted after saving (run it again),
130 interrupted from the keyboard.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from vsrbench.core.errors import InputError
from vsrbench.core.files import explain
from vsrbench.core.gpu_lease import lease_gpu, share_gpus
from vsrbench.core.malloc import retain_freed_memory
from vsrbench.patterns.study import LAYERS

# The commands that use a GPU, and how many of those that Slurm has allocated to the job.
GPUS = {
    "train": "all",
    "train-flow": "one",
    "evaluate": "one",
    "measure-runtime": "one",
    "measure-reach": "one",
    "plan": "one",
    "restore": "one",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; each command imports what it needs, such as torch."""
    options = vars(_parser().parse_args(arguments))
    command: Callable[..., None] = options.pop("command")
    gpus = GPUS.get(options.pop("step"))
    retain_freed_memory()
    try:
        _log_to(options.pop("log"))
        if gpus == "all":
            share_gpus(sys.argv[1:] if arguments is None else arguments)
        with lease_gpu() if gpus else nullcontext():
            if gpus:
                _Lazily("core.device", "allow_tf32")(allowed=False)
            command(**options)
    except InputError as error:
        logging.getLogger("vsrbench").error("%s", error)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        logging.getLogger("vsrbench").error("interrupted")
        return 130
    except OSError as error:
        if (line := explain(error)) is None:
            raise
        logging.getLogger("vsrbench").error("%s", line)
        return 2
    return 0


def _log_to(log: Path | None) -> None:
    logging.basicConfig(level=logging.INFO, format="vsrbench: %(message)s")
    logging.raiseExceptions = False  # a log that cannot be written must not hide the actual error
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(log)
        handler.setFormatter(logging.Formatter("vsrbench: %(message)s"))
        logging.getLogger().addHandler(handler)
        sys.excepthook = _log_exception


def _log_exception(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger("vsrbench").critical("failed", exc_info=(kind, error, traceback))


@dataclass(frozen=True)
class _Lazily:
    """`vsrbench.<module>.<function>`, imported on the first call."""

    module: str
    function: str

    def resolve(self) -> Callable[..., None]:
        """Import the function."""
        function: Callable[..., None] = getattr(import_module(f"vsrbench.{self.module}"), self.function)
        return function

    def __call__(self, **options: Any) -> None:
        self.resolve()(**options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vsrbench", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="command", dest="step")

    def add(name: str, module: str, function: str, summary: str) -> Callable[..., argparse.Action]:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=_Lazily(module, function))
        command.add_argument("--log", type=Path, help="file to which messages are written as well")
        return command.add_argument

    option = add("generate", "data.photo_motion", "generate", "Generate clips of moving photographs.")
    option("--folder", type=Path, required=True, help="folder for the clips and, last, manifest.json")
    option("--degradation", required=True)
    option("--seed", type=_seed, required=True)
    option("--size", type=int, required=True, help="edge of a ground-truth frame, in pixels")
    option("--num-frames", type=_positive, required=True)
    option("--clips-per-photo", type=_count, nargs="+", action=_Counts, required=True, metavar="SPLIT=N")

    option = add(
        "generate-permuted-cells",
        "data.permuted_cells",
        "generate",
        "Generate clips that only attention can restore.",
    )
    option("--folder", type=Path, required=True, help="folder for the clips and, last, manifest.json")
    option("--degradation", required=True)
    option("--seed", type=_seed, required=True)

    option = add("verify", "data.verification", "verify", "Check a real data set and write its manifest.")
    option("--dataset", required=True)
    option(
        "--root", type=Path, required=True, help="folder that holds the unpacked archives of the data sets"
    )
    option("--name", help="name in the study of a data set that is a folder of your own")
    option("--degradation", required=True)
    option("--manifest", type=Path, required=True)
    option("--split-seed", type=_seed, default=1, help="which of a folder's clips are held out")
    option("--validation-share", type=_share, help="split a folder for training, with this share held out")
    option("--test-share", type=_share, default=0.0, help="share of the folder's clips to score on")
    option("--workers", type=_positive, default=1, help="clips to check in parallel")

    option = add("store", "data.store_frames", "store_split", "Unpack the frames of a split for training.")
    option("--manifest", type=Path, required=True)
    option("--split", required=True)
    option("--index", type=Path, required=True, help="file to write; frames are stored in its folder")
    option("--workers", type=_positive, default=1, help="clips to unpack in parallel")

    option = add(
        "train-flow", "training.train_flow", "train_flow", "Train SPyNet on clips with known optical flow."
    )
    option("--store", type=Path, required=True)
    option("--validation-store", type=Path, required=True)
    option("--num-feat", type=_positive, required=True)
    option("--iterations", type=_positive, required=True)
    option("--batch-size", type=_positive, required=True)
    option("--crop-size", type=_positive, required=True)
    option("--learning-rate", type=float, required=True)
    option("--seed", type=_seed, required=True)
    option("--out", type=Path, required=True)

    option = add("import-flow", "training.train_flow", "import_flow", "Convert your own SPyNet weights.")
    option("--weights", type=Path, required=True)
    option("--num-feat", type=int, help="width that they must have (model.flow_num_feat)")
    option("--out", type=Path, required=True)

    option = add(
        "import-weights",
        "training.import_weights",
        "import_weights",
        "Take a network's weights from a checkpoint that was trained elsewhere.",
    )
    option("--config", type=Path, required=True, help="resolved variant")
    option("--weights", type=Path, required=True, help="released checkpoint, or the weights of a run")
    option("--out", type=Path, required=True)

    option = add(
        "train",
        "training.finished_run",
        "train_and_tidy",
        "Train one variant, or go on where it stopped.",
    )
    option("--config", type=Path, required=True, help="resolved variant")
    option("--seed", type=_seed, required=True)
    option("--store", type=Path, required=True)
    option("--validation-store", type=Path, required=True)
    option("--flow-weights", type=Path)
    option(
        "--out", type=Path, required=True, help="weights to write; checkpoints and log go to the same folder"
    )
    option("--workers", type=_positive, help="threads that read ahead; by default from the number of cores")
    option("--keep-checkpoints", action="store_true", help="also of a finished training")
    option("--on-nonfinite", choices=["stop", "skip"], default="stop")
    option("--learning-rate", type=float, help="peak learning rate, in place of the variant's own")
    option("--tuning", type=Path, help="output of choose-learning-rate; its rate replaces any other")

    option = add(
        "choose-learning-rate",
        "training.tuning",
        "choose_learning_rate",
        "Choose the learning rate with the best validation PSNR.",
    )
    option("--runs", type=Path, nargs="+", required=True, help="provenance.json of each training of a sweep")
    option("--out", type=Path, required=True)

    option = add(
        "evaluate", "evaluation.evaluate", "evaluate", "Restore and score the test clips of a data set."
    )
    option("--study", required=True)
    option("--variant", required=True, help="name of the variant or baseline")
    option("--seed", type=_seed, required=True)
    option("--manifest", type=Path, required=True)
    option("--config", type=Path)
    option("--weights", type=Path)
    option("--degradation", help="degradation that the frames must have; any by default")
    option(
        "--share", type=_part, default=argparse.SUPPRESS, metavar="NUMBER/OF", help="only every OF-th clip"
    )
    option("--mode", choices=["tiled", "whole_frame"], default="tiled")
    option("--tile-overlap", type=int, help="in LQ pixels; half a tile, as released, by default")
    option("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    option("--metrics", nargs="+", default=argparse.SUPPRESS, metavar="METRIC", help="all by default")
    option("--lpips-weights", type=Path, help="folder of LPIPS backbones; torch's hub cache by default")
    option("--rows", type=Path, required=True, help="CSV file to write, one row per frame")
    option("--frames", type=Path, required=True, help="folder for the sample frames")

    option = add("join-shares", "evaluation.shares", "join", "Join the shares of one evaluation.")
    option("--shares", type=Path, nargs="+", required=True, help="their folders")
    option("--manifest", type=Path, required=True)
    option("--config", type=Path)
    option("--weights", type=Path)
    option("--rows", type=Path, required=True)
    option("--frames", type=Path, required=True)

    option = add(
        "inspect",
        "evaluation.inspect_network",
        "inspect",
        "Export attention weights and optical flow.",
    )
    option("--config", type=Path, required=True, help="resolved variant")
    option("--weights", type=Path, required=True)
    option("--manifest", type=Path, required=True)
    option("--out", type=Path, required=True)

    option = add(
        "measure-reach",
        "evaluation.reach",
        "measure_reach",
        "Measure a network's receptive field and attention, and its score with attention confined.",
    )
    option("--config", type=Path, required=True, help="resolved variant")
    option("--weights", type=Path, required=True)
    option("--manifest", type=Path, required=True)
    option("--seed", type=_seed, required=True)
    option("--mode", choices=["tiled", "whole_frame"], default="tiled")
    option("--tile-overlap", type=int, help="in LQ pixels; half a tile, as released, by default")
    option("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    option("--out", type=Path, required=True)

    option = add("compare-reach", "report.reach_summary", "compare_reach", "Tabulate how far networks look.")
    option("--files", type=Path, nargs="+", required=True, help="files of measure-reach")
    option("--out", type=Path, required=True, help="folder that gets tables/ and figures/")

    option = add("gate", "evaluation.gate", "gate", "Check bicubic against published reference scores.")
    option("--rows", type=Path, required=True)
    option("--manifest", type=Path, required=True)
    option("--min-frames", type=_positive, default=1, help="frames that a clip must have")
    option("--min-edge", type=_positive, default=1, help="edge in LQ pixels that a frame must have")
    option("--out", type=Path, required=True)

    option = add("measure-runtime", "evaluation.runtime", "measure_runtime", "Time one variant.")
    option("--config", type=Path, required=True)
    option("--sizes", type=_size, nargs="+", required=True, metavar="HEIGHTxWIDTH")
    option("--mode", choices=["tiled", "whole_frame"], default="tiled")
    option("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    option("--tile-overlap", type=int)
    option("--budget-seconds", type=float, default=10.0)
    option("--out", type=Path, required=True)

    option = add(
        "restore", "evaluation.restore", "restore", "Enlarge a video, or a folder of frames, four times."
    )
    option("clip", type=Path, help="video file or folder of numbered PNG frames")
    option("--weights", type=Path, required=True, help="of a run (.safetensors), or released (.pth)")
    option("--out", type=Path, required=True, help="video (.mp4, .mkv, .mov) or folder of frames to write")
    option("--config", type=Path, help="resolved variant of the weights; by default that of the same study")
    option("--num-frames", type=_positive, default=5, help="window of released weights; 7 for Vimeo-90K's")
    option(
        "--frames", type=Path, help="folder that gets the frames, too; an interrupted call resumes from it"
    )
    option("--compare", type=Path, help="video to write, half bicubic and half restored")
    option("--frame-rate", type=_rate, help="frames per second of a clip in a folder, as 25 or 30000/1001")
    option("--mode", choices=["tiled", "whole_frame"], help="by default whole_frame where possible")
    option("--tile-overlap", type=int, help="in LQ pixels; half a tile, as released, by default")
    option("--precision", choices=["float32", "bfloat16"], help="by default bfloat16 where it is fast")
    option("--device", help="cpu or cuda; by default cuda if available")

    option = add(
        "plan", "orchestration.cost_forecast", "plan", "Forecast a study's cost on devices like this one."
    )
    option("--study", type=Path, required=True, help="study file")
    option("--gpus", type=_positive, default=1, help="GPUs that share the batch of a training")
    option("--memory", type=_gibibytes, help="of a GPU, such as 80GiB: say how much of a batch fits")
    option("--device", help="cpu or cuda; by default cuda if available")

    option = add(
        "status", "orchestration.study_status", "status", "Print how a study stands, from its files."
    )
    option("--study", required=True, help="name of the study")
    option("--results", type=Path, default=Path("results"), help="folder of the studies")
    option("--watch", type=_positive, nargs="?", const=30, metavar="SECONDS", help="print again, each 30 s")

    option = add(
        "recover", "orchestration.slurm", "recover", "Cancel the jobs that a killed Snakemake left behind."
    )
    option("--study", required=True)

    option = add("clean", "orchestration.clean_study", "clean", "Remove checkpoints of finished trainings.")
    option("--study", required=True, help="name of the study")
    option("--results", type=Path, default=Path("results"), help="folder of the studies")
    option("--yes", action="store_true", help="remove what would only be listed")

    option = add("check", "orchestration.chain", "check", "Verify a study's files against their records.")
    option("study", type=Path, help="results/<study>")
    option("--deep", action="store_true", help="read frame stores, sample frames and source frames as well")

    option = add("repair", "orchestration.chain", "repair", "Regenerate what is damaged in a study.")
    option("study", type=Path, help="results/<study>")
    option("--config", type=Path, help="study file; workflow/config/<study>.yaml by default")
    option("--cores", type=_positive, default=2)
    option("--deep", action="store_true", help="read frame stores and sample frames as well")

    option = add("export", "report.research_object", "export", "Write a study to a zip file, as an RO-Crate.")
    option("study", type=Path, help="results/<study>")
    option("--out", type=Path, required=True, help="zip file to write")
    option("--weights", action="store_true", help="with the weights of its networks")

    option = add("explain", "report.explain", "explain", "Trace a number in a table back to its runs.")
    option("table", type=Path, help="a table of results/<study>/tables, or results/claims/verdicts.csv")
    option(
        "cell",
        help="<variant>:<column of ablations.csv>, <claim>:<study>, <variant>:<quantity> of reach.csv, or "
        "<layer>:<optimiser>:<n>:<function>:<k> of k-patterns",
    )

    option = add(
        "claims", "report.claims_report", "settle_claims", "Write the verdicts on the paper's claims."
    )
    option("--results", type=Path, default=Path("results"), help="folder of the finished studies")
    option("--list", action="store_true", dest="only_list", help="print the studies they rest on, and stop")
    option("--readme", type=Path, help="file whose block of claims results is replaced by the verdicts")

    option = add("compare", "report.compare_studies", "compare", "Compare the results of two studies.")
    option("a", type=Path, help="results/<study>")
    option("b", type=Path, help="results/<other study>")

    option = add("learn-patterns", "patterns.learn", "learn", "Train one layer on k-patterns of n bits.")
    option("--layer", choices=LAYERS, required=True)
    option("--optimiser", choices=["sgd", "adam"], required=True)
    option("--n", type=_positive, required=True, help="bits of an input")
    option("--k", type=_positive, nargs="+", required=True, help="bits that decide")
    option("--functions", choices=["parity", "random"], nargs="+", required=True)
    option("--rates", type=float, nargs="+", required=True, help="learning rates to choose from")
    option("--tuning-seeds", type=_seed, nargs="+", required=True)
    option("--tuning-steps", type=_positive, required=True, help="steps at most of a training that tunes")
    option("--seeds", type=_seed, nargs="+", required=True)
    option("--steps", type=_positive, required=True, help="steps of a training at most")
    option("--batch-size", type=_positive, required=True)
    option("--interval", type=_positive, required=True, help="steps whose inputs make one accuracy")
    option("--out", type=Path, required=True, help="CSV to write, one row per accuracy")

    option = add(
        "measure-gradients",
        "patterns.gradients",
        "measure_gradients",
        "Compute the gradients at initialisation that the theorem on k-patterns bounds.",
    )
    option("--n", type=_positive, nargs="+", required=True)
    option("--k", type=_positive, nargs="+", required=True)
    option("--initialisations", type=_positive, required=True)
    option("--out", type=Path, required=True)

    option = add(
        "summarise-patterns",
        "patterns.summary",
        "summarise",
        "Write tables, figures and report of k-patterns.",
    )
    option("--runs", type=Path, nargs="+", required=True, help="files of learn-patterns")
    option("--gradients", type=Path, required=True, help="file of measure-gradients")
    option("--title", required=True)
    option("--out", type=Path, required=True, help="folder that gets tables/, figures/ and report.html")

    option = add("sync", "tracking.wandb_mirror", "sync", "Mirror a study to W&B.")
    option("study", type=Path, help="results/<study>")

    option = add("follow", "tracking.wandb_live", "follow", "Show trainings in W&B while they run.")
    option("study", type=Path, help="results/<study>")
    option("--until-pid", type=_positive, metavar="PID", help="end with this process")
    option("--interval", type=_positive, default=10, help="seconds between looks")

    option = add(
        "dashboard",
        "tracking.wandb_dashboard",
        "publish_dashboard",
        "Create a W&B dashboard that compares the variants.",
    )
    option("study", type=Path, help="results/<study>")
    return parser


def _gibibytes(text: str) -> float:
    number = float(text.removesuffix("GiB"))
    if number <= 0:
        raise ValueError
    return number


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:  # the limit of NumPy and of the study schema
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _part(text: str) -> Any:
    from vsrbench.evaluation.shares import Share

    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 2/8")
    return Share(int(number), int(of))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to below 1")
    return value


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate, such as 25 or 30000/1001")
    return rate


def _count(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    return name, _positive(number)


class _Counts(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, dict(values))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _positive(height), _positive(width)


if __name__ == "__main__":
    sys.exit(main())
