# Needs: resolved variants (data.smk).
# Gives: results/{study}/runtime/{variant}.json   time, memory and operations per output frame


rule measure_runtime:
    "Time one variant, alone on its machine."
    input:
        config=ancient("results/{study}/configs/{variant}.yaml"),
    output:
        "results/{study}/runtime/{variant}.json",
    log:
        "results/{study}/logs/measure_runtime/{variant}.log",
    # All cores of a local run, so that nothing else runs beside it.
    threads: lambda wildcards: workflow.cores or 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=60,
    params:
        **STUDY.settings["evaluation"],
        code=CODE["measure_runtime"],
        model=lambda wildcards: recipe(wildcards.variant)["model"],
        sizes=["{}x{}".format(*size) for size in STUDY.settings["runtime"]["sizes"]],
        budget=STUDY.settings["runtime"]["budget_seconds"],
    shell:
        "vsrbench measure-runtime --config {input.config:q} --sizes {params.sizes:q} --mode {params.mode:q}"
        " --precision {params.precision:q} --budget-seconds {params.budget} --out {output:q} --log {log:q}"
