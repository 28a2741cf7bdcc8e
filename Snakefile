# vsrt-bench: from data to the ablation table. `snakemake --cores 2 --configfile workflow/config/demo.yaml`
import signal

from snakemake.utils import min_version

min_version("9.0")
# Near its time limit Slurm sends SIGUSR1 to every process of a job; the one that trains saves and leaves.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

if not workflow.config_settings.configfiles:

    configfile: "workflow/config/reds.yaml"


# Used with --software-deployment-method apptainer only; see docs/cluster.md.
container: "workflow/vsrbench.sif"


include: "workflow/rules/common.smk"


if KEY in config:

    include: "workflow/rules/patterns.smk"

else:

    include: "workflow/rules/study.smk"
    include: "workflow/rules/data.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/runtime.smk"
    include: "workflow/rules/tables.smk"

    if STUDY.settings["reach"]:

        include: "workflow/rules/reach.smk"


report: "workflow/report/study.rst"


wildcard_constraints:
    study=STUDY.name,
    variant=r"[a-z0-9_]+",
    dataset=r"[a-z0-9_]+",
    seed=r"\d+",
    rate=r"[0-9.e-]+",
    share=r"\d+",


# On a cluster these run beside Snakemake: too short for a job, or (sync) in need of the internet, which nodes often lack.
localrules:
    all,
    resolve_variant,
    write_fingerprint,
    choose_learning_rate,
    gate,
    all_data_is_good,
    all_gates_are_passed,
    sync,


rule all:
    "The study's tables, figures and report."
    default_target: True
    input:
        results(),


onstart:
    lock_study()
    if workflow.executor_plugin.name == "slurm":
        check_cluster_limits()
    before_the_first_job()


onsuccess:
    print(summary(), flush=True)
    notify(NOTIFY, f"study {STUDY.name} finished")


onerror:
    print(*(log_tail(path, failures()) for path in log), flush=True)
    notify(NOTIFY, failure_text(STUDY.name, failures()))
