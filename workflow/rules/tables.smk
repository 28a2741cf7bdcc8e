# Needs: rows (evaluate.smk), timings (runtime.smk), what was run and on what (data.smk, train.smk).
# Gives: results/{study}/tables/ablations.{csv,md,tex,txt}  and more detailed tables beside them
#        results/{study}/figures/


rule make_tables:
    "Compare every variant with the full model."
    input:
        evaluations=evaluations(),
        configs=of_each_variant("results/{study}/configs/{variant}.yaml"),
        runtimes=of_each_variant("results/{study}/runtime/{variant}.json"),
        provenance=of_each_run("results/{study}/runs/{variant}/seed_{seed}/provenance.json"),
        manifests=expand(
            "results/{study}/data/{dataset}/manifest.json", study=STUDY.name, dataset=STUDY.datasets
        ),
    output:
        report(
            "results/{study}/tables/ablations.md",
            caption="../report/ablations.rst",
            category="Tables",
            labels={"table": "Ablations", "format": "Markdown"},
        ),
        multiext("results/{study}/tables/ablations", ".csv", ".tex", ".txt"),
        "results/{study}/tables/ablations_tidy.csv",
        "results/{study}/tables/factorial.csv",
    log:
        "results/{study}/logs/make_tables.log",
    params:
        title=STUDY.settings["title"],
        note=STUDY.settings.get("note", ""),
    script:
        "../scripts/make_tables.py"
