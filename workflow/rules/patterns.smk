# Needs: nothing but the study file.
# Gives: results/{study}/runs/{layer}/{optimiser}/n_{n}.csv   accuracy over the steps of every training
#        results/{study}/gradients.csv                        gradients at initialisation, and their bound
#        results/{study}/tables, results/{study}/figures      steps to 99 % by layer, n, k, function and optimiser
#        results/{study}/report.html                          both on one page
PATTERNS = STUDY.settings


rule learn_patterns:
    "Train one layer on k-patterns of n bits."
    output:
        rows="results/{study}/runs/{layer}/{optimiser}/n_{n}.csv",
        provenance="results/{study}/runs/{layer}/{optimiser}/n_{n}.json",
    log:
        "results/{study}/logs/learn_patterns/{layer}_{optimiser}_n_{n}.log",
    resources:
        runtime=120,
    params:
        code=CODE["learn_patterns"],
        settings=lambda wildcards: flags(
            k=STUDY.k(wildcards.layer),
            functions=PATTERNS["functions"],
            rates=PATTERNS["learning_rates"][wildcards.optimiser],
            tuning_seeds=PATTERNS["tuning_seeds"],
            seeds=STUDY.seeds(wildcards.layer),
            **{key: PATTERNS[key] for key in ("tuning_steps", "steps", "batch_size", "interval")},
        ),
    shell:
        "vsrbench learn-patterns --layer {wildcards.layer:q} --optimiser {wildcards.optimiser:q} --n {wildcards.n}"
        " {params.settings:q} --out {output.rows:q} --log {log:q}"


rule measure_gradients:
    "Compute the gradients at initialisation that the theorem bounds."
    output:
        "results/{study}/gradients.csv",
    log:
        "results/{study}/logs/measure_gradients.log",
    resources:
        runtime=60,
    params:
        code=CODE["measure_gradients"],
        settings=flags(n=STUDY.sizes(), k=PATTERNS["k"], initialisations=PATTERNS["initialisations"]),
    shell:
        "vsrbench measure-gradients {params.settings:q} --out {output:q} --log {log:q}"


rule summarise_patterns:
    "Write the tables, the figures and the report."
    input:
        runs=expand("results/{study}/{run}", study=STUDY.name, run=STUDY.runs()),
        gradients="results/{study}/gradients.csv",
    output:
        tables=expand(
            "results/{{study}}/tables/{table}",
            table=["trainings.csv", "cells.csv", "cells.txt", "gradients.csv"],
        ),
        figures=expand(
            "results/{{study}}/figures/{figure}.{format}",
            figure=[*(f"steps_{function}" for function in PATTERNS["functions"]), "gradients"],
            format=["svg", "png"],
        ),
        page="results/{study}/report.html",
    log:
        "results/{study}/logs/summarise_patterns.log",
    params:
        code=CODE["summarise_patterns"],
        title=STUDY.title,
    shell:
        "vsrbench summarise-patterns --runs {input.runs:q} --gradients {input.gradients:q}"
        " --title {params.title:q} --out results/{wildcards.study} --log {log:q}"


def results():
    """The files that a study ends with."""
    return [f"results/{STUDY.name}/{end}" for end in ("tables/cells.txt", "report.html")]


def summary():
    """The table, and where the rest lies."""
    folder = Path("results", STUDY.name).absolute()
    return f"{(folder / 'tables' / 'cells.txt').read_text()}\nTables, figures and report.html: {folder}"


def before_the_first_job():
    """Nothing: all that it needs is in the study file."""
