# Needs: weights (train.smk) and verified data (data.smk).
# Gives: results/{study}/evaluations/{dataset}/{variant}/seed_{seed}.csv      one row per frame
#        results/{study}/inspections/{dataset}/{variant}/seed_{seed}.safetensors   attention and flow of a few frames
#        results/{study}/evaluations/{dataset}/gate.json                      bicubic against its anchors
# Bicubic, the anchor, is scored first by the same code; networks only where it meets its published scores.


rule evaluate:
    "Score one variant's restored frames against the ground truth."
    input:
        unpack(network),
        fingerprint="results/{study}/fingerprints/evaluate/full.txt",
        manifest="results/{study}/data/{dataset}/manifest.json",
    output:
        rows="results/{study}/evaluations/{dataset}/{variant}/seed_{seed}.csv",
        frames=directory("results/{study}/evaluations/{dataset}/{variant}/seed_{seed}"),
    log:
        "results/{study}/logs/evaluate/{dataset}_{variant}_seed_{seed}.log",
    resources:
        gpu=1,
        mem_mb=inference_memory,
        runtime=lambda wildcards: 60 if STUDY.data_set(wildcards.dataset).generated else 480,
    params:
        network=network_flags,
        settings=lambda wildcards: flags(**SCORING),
    shell:
        "vsrbench evaluate --study {wildcards.study:q} --variant {wildcards.variant:q} --seed {wildcards.seed}"
        " --manifest {input.manifest:q} {params.network:q} {params.settings:q}"
        " --rows {output.rows:q} --frames {output.frames:q} --log {log:q}"


if STUDY.settings["scatter"]:
    SHARE = "results/{study}/evaluations/{dataset}/{variant}/shares/seed_{seed}/{share}"

    use rule evaluate as evaluate_share with:
        # One share of the clips; lost shares repeat alone.
        output:
            rows=temp(f"{SHARE}/rows.csv"),
            frames=temp(directory(f"{SHARE}/frames")),
            seal=temp(f"{SHARE}/share.json"),
        log:
            "results/{study}/logs/evaluate/{dataset}_{variant}_seed_{seed}_share_{share}.log",
        params:
            network=network_flags,
            settings=lambda wildcards: flags(
                **SCORING, share=f"{wildcards.share}/{STUDY.settings['scatter'][wildcards.dataset]}"
            ),

    rule join_shares:
        "Join the shares of one evaluation: the same files as one job would have written."
        input:
            unpack(network),
            rows=shares(f"{SHARE}/rows.csv"),
            frames=shares(f"{SHARE}/frames"),
            seals=shares(f"{SHARE}/share.json"),
            manifest="results/{study}/data/{dataset}/manifest.json",
        output:
            rows="results/{study}/evaluations/{dataset}/{variant}/seed_{seed}.csv",
            frames=directory("results/{study}/evaluations/{dataset}/{variant}/seed_{seed}"),
        log:
            "results/{study}/logs/evaluate/{dataset}_{variant}_seed_{seed}.log",
        wildcard_constraints:
            dataset="|".join(STUDY.settings["scatter"]),
        params:
            network=network_flags,
            shares=lambda wildcards, input: [str(Path(seal).parent) for seal in input.seals],
        shell:
            "vsrbench join-shares --shares {params.shares:q} --manifest {input.manifest:q} {params.network:q}"
            " --rows {output.rows:q} --frames {output.frames:q} --log {log:q}"

    localrules:
        join_shares,

    ruleorder: join_shares > evaluate


rule inspect:
    "Look inside one network, for the figures of attention and optical flow."
    input:
        config=ancient("results/{study}/configs/{variant}.yaml"),
        fingerprint="results/{study}/fingerprints/inspect/{variant}.txt",
        weights="results/{study}/runs/{variant}/seed_{seed}/weights.safetensors",
        manifest="results/{study}/data/{dataset}/manifest.json",
    output:
        "results/{study}/inspections/{dataset}/{variant}/seed_{seed}.safetensors",
    log:
        "results/{study}/logs/inspect/{dataset}_{variant}_seed_{seed}.log",
    resources:
        mem_mb=inference_memory,
        runtime=60,
    shell:
        "vsrbench inspect --config {input.config:q} --weights {input.weights:q} --manifest {input.manifest:q}"
        " --out {output:q} --log {log:q}"


rule gate:
    "Compare the anchor's scores with published ones before any network is scored."
    input:
        rows=f"results/{{study}}/evaluations/{{dataset}}/{ANCHOR.name}/seed_{STUDY.seeds(ANCHOR.name)[0]}.csv",
        manifest="results/{study}/data/{dataset}/manifest.json",
    output:
        "results/{study}/evaluations/{dataset}/gate.json",
    log:
        "results/{study}/logs/gate/{dataset}.log",
    params:
        code=CODE["gate"],
        min_clip_size=flags(**STUDY.min_clip_size()),
    shell:
        "vsrbench gate --rows {input.rows:q} --manifest {input.manifest:q} {params.min_clip_size:q}"
        " --out {output:q} --log {log:q}"


# One file for all, as of the data.
rule all_gates_are_passed:
    "The anchor meets its published scores on every data set of the study."
    input:
        expand("results/{study}/evaluations/{dataset}/gate.json", study=STUDY.name, dataset=STUDY.datasets),
    output:
        touch("results/{study}/evaluations/all_gates_are_passed"),
