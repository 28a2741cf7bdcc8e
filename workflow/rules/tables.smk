# Needs: rows (evaluate.smk), timings (runtime.smk), what was run and on what (data.smk, train.smk).
# Gives: results/{study}/tables/      the ablation table and what it rests on
#        results/{study}/figures/     each figure as SVG and PNG
#        results/{study}/report.html  the study's questions and answers on one page
#        results/{study}/wandb/       the study as W&B runs
FIGURES = figures_of(
    STUDY.variants,
    budgets=bool(STUDY.shorter),
    tuning=bool(STUDY.settings["tune"]),
    training=bool(STUDY.trained),
)
MEASURED = {
    "evaluations": evaluations(),
    "configs": of_each_budget("results/{study}/configs/{variant}.yaml"),
    "runtimes": runtimes(),
    "provenance": of_each_run("results/{study}/runs/{variant}/seed_{seed}/provenance.json"),
    "tuning": of_each_tuned("results/{study}/tuning/{variant}.json"),
    "manifests": expand(
        "results/{study}/data/{dataset}/manifest.json", study=STUDY.name, dataset=STUDY.datasets
    ),
}
# By reach.smk, where the study asks for it: a table, and a figure of the same name.
REACH = {"reach": "results/{study}/tables/reach.csv"} if STUDY.settings["reach"] else {}


rule make_tables:
    "Compare every variant with the full model, and the full model with what was published."
    input:
        **MEASURED,
        fingerprint="results/{study}/fingerprints/make_tables/full.txt",
    output:
        multiext("results/{study}/tables/ablations", ".md", ".csv", ".tex", ".txt", "_tidy.csv"),
        multiext("results/{study}/tables/published", ".csv", ".md"),
        "results/{study}/tables/factorial.csv",
        "results/{study}/tables/budgets.csv",
        "results/{study}/tables/claims.csv",
    log:
        "results/{study}/logs/make_tables.log",
    params:
        heading=lambda wildcards: HEADING,  # by a function, whose result may hold braces
    script:
        "../scripts/make_tables.py"


rule make_figures:
    "Draw what the tables say, with its uncertainty, and restored frames side by side."
    input:
        **MEASURED,
        fingerprint="results/{study}/fingerprints/make_figures/full.txt",
        inspections=inspections(),
    output:
        *[
            report(
                f"results/{{study}}/figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category="Figures",
                labels={"figure": figure},
            )
            for figure in FIGURES
        ],
        [f"results/{{study}}/figures/{figure}.png" for figure in FIGURES],
    log:
        "results/{study}/logs/make_figures.log",
    params:
        judging=lambda wildcards: JUDGING,  # by a function, whose result may hold braces
    script:
        "../scripts/make_figures.py"


rule make_report:
    "Answer the study's questions on one page that needs no network."
    input:
        **MEASURED,
        **REACH,
        fingerprint="results/{study}/fingerprints/make_report/full.txt",
        figures=expand("results/{study}/figures/{figure}.svg", study=STUDY.name, figure=[*FIGURES, *REACH]),
    output:
        page="results/{study}/report.html",
        tables=report(
            "results/{study}/tables/ablations.html",
            caption="../report/ablations.rst",
            category="Tables",
            labels={"table": "All tables"},
        ),
        findings="results/{study}/findings.rst",
    log:
        "results/{study}/logs/make_report.log",
    params:
        heading=lambda wildcards: HEADING,  # by a function, whose result may hold braces
    script:
        "../scripts/make_report.py"


rule sync:
    "Mirror the study into W&B: offline, unless the environment says otherwise."
    input:
        **{key: MEASURED[key] for key in ("evaluations", "runtimes", "provenance")},
        tables="results/{study}/tables/ablations.csv",
        figures=rules.make_report.input.figures,
    output:
        touch("results/{study}/wandb/mirrored"),
    log:
        "results/{study}/logs/sync.log",
    shell:
        "vsrbench sync results/{wildcards.study:q} --log {log:q}"
