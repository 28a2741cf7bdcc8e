# Needs: weights (train.smk) and verified data (data.smk).
# Gives: results/{study}/evaluations/{dataset}/{variant}/seed_{seed}.csv   one row per frame
# Bicubic is scored first by the same code; networks are scored only where it meets the published anchor.


rule evaluate:
    "Score one variant's restored frames against the ground truth."
    input:
        config=lambda wildcards: (
            []
            if wildcards.variant == "bicubic"
            else ancient(f"results/{wildcards.study}/configs/{wildcards.variant}.yaml")
        ),
        weights=weights,
        manifest="results/{study}/data/{dataset}/manifest.json",
        gate=lambda wildcards: (
            []
            if wildcards.variant == "bicubic"
            else (f"results/{wildcards.study}/evaluations/{wildcards.dataset}/gate.json")
        ),
    output:
        rows="results/{study}/evaluations/{dataset}/{variant}/seed_{seed}.csv",
        frames=directory("results/{study}/evaluations/{dataset}/{variant}/seed_{seed}"),
    log:
        "results/{study}/logs/evaluate/{dataset}_{variant}_seed_{seed}.log",
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=480,
    params:
        **STUDY.settings["evaluation"],
        code=CODE["evaluate"],
        network=lambda wildcards, input: (
            ["--config", input.config, "--weights", input.weights] if input.weights else []
        ),
        lpips_weights=(
            ["--lpips-weights", STUDY.settings["lpips_weights"]] if STUDY.settings["lpips_weights"] else []
        ),
    shell:
        "vsrbench evaluate --study {wildcards.study:q} --variant {wildcards.variant:q} --seed {wildcards.seed}"
        " --manifest {input.manifest:q} {params.network:q} {params.lpips_weights:q} --mode {params.mode:q}"
        " --precision {params.precision:q} --metrics {params.metrics:q} --rows {output.rows:q} --frames {output.frames:q} --log {log:q}"


rule gate:
    "Hold bicubic's scores against the published anchors before any network is scored."
    input:
        "results/{study}/evaluations/{dataset}/bicubic/seed_0.csv",
    output:
        "results/{study}/evaluations/{dataset}/gate.json",
    log:
        "results/{study}/logs/gate/{dataset}.log",
    shell:
        "vsrbench gate --rows {input:q} --out {output:q} --log {log:q}"
