# The checked study and the lookups that rules share. No rules here.
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from snakemake.exceptions import WorkflowError

from models.baselines import ANCHOR
from vsrbench.orchestration.slurm import check_cluster, check_shares, wait_for_earlier_jobs
from vsrbench.orchestration.job_resources import flow_minutes, inference_mb, training_mb, training_minutes
from vsrbench.tracking.wandb_settings import read_destination
from vsrbench.core.errors import InputError
from vsrbench.orchestration.failed_jobs import log_tail
from vsrbench.orchestration.notification import failure_text, notify
from vsrbench.report.figure_list import figures_of, inspected_variants
from vsrbench.core.provenance import STEPS, code_digest
from vsrbench.orchestration.study import check_names, load_study
from vsrbench.orchestration.study_lock import hold_study

# The commands of the environment that Snakemake runs in are found even where it is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# The longest that a training may ask a cluster for at once, in minutes; a profile gives the hours.
LONGEST = 60 * config.pop("hours", 24)
GPUS_PER_TRAINING = config.pop("gpus_per_training", 1)
WORKERS = config.pop("workers", None)  # threads of a training that read ahead
NOTIFY = config.pop("notify", None)


@contextmanager
def faults_in_one_line():
    """As Snakemake reports an error of the workflow: without a traceback."""
    try:
        yield
    except InputError as error:
        raise WorkflowError(str(error)) from None


with faults_in_one_line():
    check_names(workflow.configfiles, config)
    STUDY = load_study(config)
    check_shares(STUDY, GPUS_PER_TRAINING)
    read_destination()  # W&B's settings are used last, but refused first

CODE = {step: code_digest(step) for step in STEPS}

# What tables and figures leave out and regard as equivalent.
JUDGING = {"margin": STUDY.settings["equivalence_margin"], "exclude": STUDY.settings["exclude"]}

# What stands above the tables besides.
HEADING = {
    "title": STUDY.settings["title"],
    "note": STUDY.settings.get("note", ""),
    **JUDGING,
}

# How frames are restored and scored.
SCORING = {
    **STUDY.settings["evaluation"],
    **{key: STUDY.settings[key] for key in ("degradation", "lpips_weights")},
}

# How networks are run: timed as they are scored.
RESTORING = {key: STUDY.settings["evaluation"][key] for key in ("mode", "tile_overlap", "precision")}


def step_fingerprint(step, variant):
    """What the result of a step depends on besides its files; of variants, titles and questions are none of it."""
    resolved = STUDY.networks[variant].to_dict()
    settings = {
        "train_flow": {
            **STUDY.settings["flow_training"],
            "num_feat": STUDY.variants["full"].model.flow_num_feat,
        },
        "train": {key: resolved[key] for key in ("degradation", "model", "training")},
        "import_weights": {key: resolved[key] for key in ("model", "weights")},
        "evaluate": SCORING,
        "measure_runtime": {**STUDY.settings["runtime"], **RESTORING, "model": resolved["model"]},
        "make_tables": HEADING,
        "make_figures": JUDGING,
        "make_report": HEADING,
    }
    return {"code": CODE[step], **settings.get(step, {})}


def flags(**settings):
    """Command-line arguments for the settings that are given: `tile_overlap=8` is `--tile-overlap 8`."""
    arguments = []
    for name, value in settings.items():
        if value not in (None, []):
            values = value if isinstance(value, list) else [value]
            arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def flow_weights(wildcards):
    """SPyNet's start weights, for the variants that use them."""
    if STUDY.trained[wildcards.variant].model.flow_source != "spynet":
        return []
    return f"results/{wildcards.study}/flow/weights.safetensors"


def network(wildcards):
    """What the evaluation of a network needs: the anchor has passed the gate. Baselines need nothing."""
    if wildcards.variant in STUDY.baselines:
        return {}
    return {
        "config": ancient("results/{study}/configs/{variant}.yaml".format(**wildcards)),
        "weights": "results/{study}/runs/{variant}/seed_{seed}/weights.safetensors".format(**wildcards),
        # Not read: it must have been passed, but what it says does not change the scores.
        "gate": ancient("results/{study}/evaluations/{dataset}/gate.json".format(**wildcards)),
    }


def network_flags(wildcards, input):
    """What tells the evaluation of a network from that of a baseline."""
    return flags(config=input.get("config"), weights=input.get("weights"))


def inference_memory(wildcards):
    """Main memory in MB of a job that runs a variant; a baseline takes what a small network does."""
    return inference_mb(STUDY.networks.get(wildcards.variant, STUDY.variants["full"]).model)


def tuning(wildcards):
    """The learning rate that was chosen for a variant, where the study does not fix it."""
    variant = STUDY.tuned(wildcards.variant)
    return f"results/{wildcards.study}/tuning/{variant}.json" if variant else []


def tuning_runs(pattern):
    """One file for each learning rate and seed that a variant is tuned with."""
    tune = STUDY.settings["tune"] or {"learning_rates": [], "seeds": []}
    return expand(pattern, rate=tune["learning_rates"], seed=tune["seeds"], allow_missing=True)


def evaluations(*variants):
    """The rows of every variant, seed and data set that can be scored."""
    return [
        f"results/{STUDY.name}/evaluations/{dataset}/{variant}/seed_{seed}.csv"
        for variant in variants or (*STUDY.baselines, *STUDY.networks)
        for seed in STUDY.seeds(variant)
        for dataset in STUDY.scores(variant)
    ]


def shares(pattern):
    """One file for each share of the clips that an evaluation is split into."""
    return lambda wildcards: expand(
        pattern, share=range(1, STUDY.settings["scatter"][wildcards.dataset] + 1), **wildcards
    )


def inspections():
    """What is seen inside a network of each kind of attention, with its first seed."""
    return [
        f"results/{STUDY.name}/inspections/{dataset}/{variant}/seed_{STUDY.seeds(variant)[0]}.safetensors"
        for variant in inspected_variants(STUDY.variants)
        for dataset in STUDY.scores(variant)
    ]


def of_each_variant(pattern):
    """One file for each variant, whatever its budget."""
    return expand(pattern, study=STUDY.name, variant=STUDY.variants)


def of_each_tuned(pattern):
    """One file for each variant whose learning rate is tuned; none where the study fixes it."""
    trained = [name for name in STUDY.variants if name not in STUDY.loaded]
    return expand(pattern, study=STUDY.name, variant=trained if STUDY.settings["tune"] else [])


def of_each_budget(pattern):
    """One file for each variant and budget."""
    return expand(pattern, study=STUDY.name, variant=STUDY.networks)


def of_each_run(pattern):
    """One file for each variant, budget and seed."""
    return [
        path
        for variant in STUDY.networks
        for path in expand(pattern, study=STUDY.name, variant=variant, seed=STUDY.seeds(variant))
    ]


def runtimes():
    """The time of every variant."""
    return of_each_variant("results/{study}/runtime/{variant}.json")


def results():
    """The files that a study ends with, and the numbers behind its table.

    Snakemake removes what a killed job gave, and while the table is up to date makes it again only where it is asked
    for. Weights are not: moving them would repeat every training.
    """
    ends = ["tables/ablations.csv", "figures/comparison.png", "report.html", "wandb/mirrored"]
    return [*(f"results/{STUDY.name}/{end}" for end in ends), *evaluations(), *inspections(), *runtimes()]


def summary():
    """The ablation table as text, and where the rest lies; nothing where only a part of the study was asked for."""
    table, page = (
        Path(f"results/{STUDY.name}", name).absolute() for name in ("tables/ablations.txt", "report.html")
    )
    if not page.is_file():
        return ""
    return f"{table.read_text()}\nTables, figures and {page.name}: {page.parent}"


def failures():
    """Rule and logs of the jobs that failed for good."""
    jobs = workflow.scheduler.failed if workflow.scheduler else ()
    return [(job.rule.name, list(job.log)) for job in jobs if not job.is_group()]


def lock_study():
    """Lock the study before the first job. Dry runs and jobs have no hooks, and take no lock."""
    with faults_in_one_line():
        hold_study(Path("results", STUDY.name))


def follow_trainings():
    """With W&B online, show trainings while they run: in a process of its own, which ends after this one."""
    if read_destination()[0] != "online":
        return
    log = Path(f"results/{STUDY.name}/logs/follow.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        subprocess.Popen(
            ["vsrbench", "follow", f"results/{STUDY.name}", "--until-pid", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def check_cluster_limits():
    """Before the first job is submitted: would Slurm take them all, and has an earlier start come to its end?"""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    with faults_in_one_line():
        check_cluster((job.rule.name, job.threads, job.resources) for job in jobs)
        wait_for_earlier_jobs(STUDY.name)
