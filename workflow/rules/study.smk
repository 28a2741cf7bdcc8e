# The lookups that the rules of a study of networks share. No rules here.
from models.baselines import ANCHOR
from vsrbench.orchestration.job_resources import flow_minutes, inference_mb, training_mb, training_minutes
from vsrbench.report.figure_list import figures_of, inspected_variants
from vsrbench.tracking.wandb_settings import read_destination

with faults_in_one_line():
    check_shares(STUDY, GPUS_PER_TRAINING)
    read_destination()  # W&B's settings are used last, but refused first

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
        "measure_reach": {**RESTORING, "model": resolved["model"]},
        "measure_runtime": {**STUDY.settings["runtime"], **RESTORING, "model": resolved["model"]},
        "make_tables": HEADING,
        "make_figures": JUDGING,
        "make_report": HEADING,
    }
    return {"code": CODE[step], **settings.get(step, {})}


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
    reaching = []
    if STUDY.settings["reach"]:
        ends += ["tables/reach.csv", "figures/reach.svg"]
        reaching = REACHING
    ends = [f"results/{STUDY.name}/{end}" for end in ends]
    return [*ends, *evaluations(), *inspections(), *runtimes(), *reaching]


def summary():
    """The ablation table as text, and where the rest lies; nothing where only a part of the study was asked for."""
    table, page = (
        Path(f"results/{STUDY.name}", name).absolute() for name in ("tables/ablations.txt", "report.html")
    )
    if not page.is_file():
        return ""
    return f"{table.read_text()}\nTables, figures and {page.name}: {page.parent}"


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


def before_the_first_job():
    """Say what is left out, and show trainings in W&B."""
    for reason in STUDY.left_out:
        print(f"Left out: {reason}.", flush=True)
    follow_trainings()
