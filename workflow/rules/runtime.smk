# Needs: resolved variants (data.smk).
# Gives: results/{study}/runtime/{variant}.json   time, memory and operations per output frame


rule measure_runtime:
    "Time one variant, alone on its machine."
    input:
        config=ancient("results/{study}/configs/{variant}.yaml"),
        fingerprint="results/{study}/fingerprints/measure_runtime/{variant}.txt",
    output:
        "results/{study}/runtime/{variant}.json",
    log:
        "results/{study}/logs/measure_runtime/{variant}.log",
    # All cores of a local run, so that nothing else runs beside it.
    threads: lambda wildcards: workflow.cores or 1
    resources:
        gpu=1,
        mem_mb=inference_memory,
        runtime=60,
    params:
        settings=flags(
            sizes=["{}x{}".format(*size) for size in STUDY.settings["runtime"]["sizes"]],
            budget_seconds=STUDY.settings["runtime"]["budget_seconds"],
            **RESTORING,
        ),
    shell:
        "vsrbench measure-runtime --config {input.config:q} {params.settings:q} --out {output:q} --log {log:q}"
