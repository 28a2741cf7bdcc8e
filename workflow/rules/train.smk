# Needs: resolved variants and frame stores (data.smk).
# Gives: results/{study}/flow/weights.safetensors                        SPyNet's start weights
#        results/{study}/runs/{variant}/seed_{seed}/weights.safetensors  trained or imported, with provenance.json beside it
# Checkpoints and train.jsonl lie in the same folders but are no outputs: Snakemake deletes those at each start.
TRAIN_ON = STUDY.settings["train_on"]
OPTIONS = flags(workers=WORKERS) + (["--keep-checkpoints"] if STUDY.settings["keep_checkpoints"] else [])

if STUDY.settings["flow_weights"]:

    rule import_flow:
        "Convert a person's own SPyNet weights."
        input:
            lambda wildcards: STUDY.settings["flow_weights"],
        output:
            weights="results/{study}/flow/weights.safetensors",
            provenance="results/{study}/flow/provenance.json",
        log:
            "results/{study}/logs/import_flow.log",
        params:
            code=CODE["import_flow"],
            num_feat=STUDY.variants["full"].model.flow_num_feat,
        shell:
            "vsrbench import-flow --weights {input:q} --num-feat {params.num_feat} --out {output.weights:q} --log {log:q}"

else:

    rule train_flow:
        "Train SPyNet on clips whose optical flow is known; its end-point error goes into the provenance."
        input:
            store="results/{study}/data/photo_motion/store/train/index.json",
            validation_store="results/{study}/data/photo_motion/store/validation/index.json",
            fingerprint="results/{study}/fingerprints/train_flow/full.txt",
            # Not read: damaged data must be known before anything is trained.
            all_data=ancient("results/{study}/data/all_is_good"),
        output:
            weights="results/{study}/flow/weights.safetensors",
            provenance="results/{study}/flow/provenance.json",
        log:
            "results/{study}/logs/train_flow.log",
        resources:
            gpu=1,
            mem_mb=8000,
            runtime=flow_minutes(STUDY, longest=LONGEST),
        params:
            **STUDY.settings["flow_training"],
            num_feat=STUDY.variants["full"].model.flow_num_feat,
        shell:
            "exec vsrbench train-flow --store {input.store:q} --validation-store {input.validation_store:q}"
            " --num-feat {params.num_feat} --iterations {params.iterations} --batch-size {params.batch_size}"
            " --crop-size {params.crop_size} --learning-rate {params.learning_rate} --seed {params.seed}"
            " --out {output.weights:q} --log {log:q}"


TRAINED_FROM = {
    "config": ancient("results/{study}/configs/{variant}.yaml"),
    "fingerprint": "results/{study}/fingerprints/train/{variant}.txt",
    "store": f"results/{{study}}/data/{TRAIN_ON}/store/train/index.json",
    "validation_store": f"results/{{study}}/data/{TRAIN_ON}/store/validation/index.json",
    "flow_weights": flow_weights,
    # Damaged data or a failed gate must cost no training; what they say does not change the weights.
    "all_gates": ancient("results/{study}/evaluations/all_gates_are_passed"),
}


rule train:
    "Train one variant with one seed; a run that was interrupted goes on from its last checkpoint."
    input:
        **TRAINED_FROM,
        tuning=tuning,
    output:
        weights="results/{study}/runs/{variant}/seed_{seed}/weights.safetensors",
        provenance="results/{study}/runs/{variant}/seed_{seed}/provenance.json",
    log:
        "results/{study}/logs/train/{variant}_seed_{seed}.log",
    resources:
        gpu=1,
        mem_mb=lambda wildcards: GPUS_PER_TRAINING * training_mb(STUDY.trained[wildcards.variant].model),
        runtime=lambda wildcards: training_minutes(STUDY.trained[wildcards.variant], longest=LONGEST),
    params:
        options=lambda wildcards, input: flags(flow_weights=input.flow_weights, tuning=input.tuning) + OPTIONS,
    shell:
        "exec vsrbench train --config {input.config:q} --seed {wildcards.seed} --store {input.store:q}"
        " --validation-store {input.validation_store:q} {params.options:q} --out {output.weights:q} --log {log:q}"


if STUDY.loaded:

    rule import_weights:
        "Take the weights of a variant from a checkpoint that was trained elsewhere."
        input:
            config=ancient("results/{study}/configs/{variant}.yaml"),
            fingerprint="results/{study}/fingerprints/import_weights/{variant}.txt",
            weights=lambda wildcards: STUDY.loaded[wildcards.variant].weights,
        output:
            weights="results/{study}/runs/{variant}/seed_{seed}/weights.safetensors",
            provenance="results/{study}/runs/{variant}/seed_{seed}/provenance.json",
        log:
            "results/{study}/logs/import_weights/{variant}_seed_{seed}.log",
        wildcard_constraints:
            variant="|".join(STUDY.loaded),
        shell:
            "vsrbench import-weights --config {input.config:q} --weights {input.weights:q} --out {output.weights:q}"
            " --log {log:q}"

    ruleorder: import_weights > train


use rule train as train_with_rate with:
    # One point of a variant's learning rate sweep. A run that diverges is a result too.
    input:
        **TRAINED_FROM,
    output:
        weights="results/{study}/tuning/{variant}/rate_{rate}/seed_{seed}/weights.safetensors",
        provenance="results/{study}/tuning/{variant}/rate_{rate}/seed_{seed}/provenance.json",
    log:
        "results/{study}/logs/tune/{variant}_rate_{rate}_seed_{seed}.log",
    params:
        options=lambda wildcards, input: flags(
            flow_weights=input.flow_weights, learning_rate=wildcards.rate, on_nonfinite="skip"
        )
        + OPTIONS,


rule choose_learning_rate:
    "Take the learning rate with the best validation PSNR; test clips have no part in it."
    input:
        tuning_runs("results/{{study}}/tuning/{{variant}}/rate_{rate}/seed_{seed}/provenance.json"),
    output:
        "results/{study}/tuning/{variant}.json",
    log:
        "results/{study}/logs/choose_learning_rate/{variant}.log",
    params:
        code=CODE["choose_learning_rate"],
    shell:
        "vsrbench choose-learning-rate --runs {input:q} --out {output:q} --log {log:q}"
