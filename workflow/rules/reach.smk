# Needs: weights (train.smk) and verified data (data.smk); only where the study file says `reach: true`.
# Gives: results/{study}/reach/{dataset}/{variant}/seed_{seed}.safetensors   receptive fields, attention, confined scores
#        results/{study}/tables/reach.csv, reach.txt, figures/reach.svg      the networks side by side
REACHING = [
    f"results/{STUDY.name}/reach/{dataset}/{variant}/seed_{seed}.safetensors"
    for variant, network in STUDY.variants.items()
    if network.model.flow_source != "oracle"  # exact flow depends on no input
    for seed in STUDY.seeds(variant)
    for dataset in STUDY.scores(variant)
]


rule measure_reach:
    "Measure how far one network looks, and its score with attention confined."
    input:
        config=ancient("results/{study}/configs/{variant}.yaml"),
        fingerprint="results/{study}/fingerprints/measure_reach/{variant}.txt",
        weights="results/{study}/runs/{variant}/seed_{seed}/weights.safetensors",
        manifest="results/{study}/data/{dataset}/manifest.json",
    output:
        "results/{study}/reach/{dataset}/{variant}/seed_{seed}.safetensors",
    log:
        "results/{study}/logs/measure_reach/{dataset}_{variant}_seed_{seed}.log",
    resources:
        gpu=1,
        mem_mb=inference_memory,
        runtime=120,
    params:
        settings=flags(**RESTORING),
    shell:
        "vsrbench measure-reach --config {input.config:q} --weights {input.weights:q} --manifest {input.manifest:q}"
        " --seed {wildcards.seed} {params.settings:q} --out {output:q} --log {log:q}"


rule compare_reach:
    "Tabulate how far the networks look, and draw their receptive fields."
    input:
        REACHING,
    output:
        "results/{study}/tables/reach.csv",
        "results/{study}/tables/reach.txt",
        report(
            "results/{study}/figures/reach.svg",
            caption="../report/reach.rst",
            category="Figures",
            labels={"figure": "reach"},
        ),
        "results/{study}/figures/reach.png",
    log:
        "results/{study}/logs/compare_reach.log",
    params:
        code=CODE["compare_reach"],
    shell:
        "vsrbench compare-reach --files {input:q} --out results/{wildcards.study:q} --log {log:q}"
