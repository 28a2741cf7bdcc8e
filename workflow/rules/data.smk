# Needs: the photographs inside scikit-image; the archives of real data sets under data_root; one's own folders.
# Gives: results/{study}/configs/{variant}.yaml               resolved variants
#        results/{study}/data/{dataset}/manifest.json         clips, digests, degradation
#        results/{study}/data/all_is_good                     when every data set has one
#        results/{study}/data/{dataset}/store/{split}/index.json   frames for training, memory-mapped


rule resolve_variant:
    "Write what a variant is, in full: the record beside its results."
    output:
        "results/{study}/configs/{variant}.yaml",
    log:
        "results/{study}/logs/resolve_variant/{variant}.log",
    params:
        variant=lambda wildcards: STUDY.networks[wildcards.variant].to_dict(),
    script:
        "../scripts/resolve_variant.py"


# An `ancient` input hides what else has changed: where its own job runs too, Snakemake does not look at the params
# of the jobs behind it. So what repeats such a job is not a param of it, but a file like any other.
rule write_fingerprint:
    "Write down the settings and the digest of the code that a step's result depends on; others repeat the step."
    output:
        "results/{study}/fingerprints/{step}/{variant}.txt",
    log:
        "results/{study}/logs/write_fingerprint/{step}_{variant}.log",
    params:
        fingerprint=lambda wildcards: str(step_fingerprint(wildcards.step, wildcards.variant)),
    shell:
        "echo {params.fingerprint:q} > {output:q} 2> {log:q}"


rule generate_photo_motion:
    "Generate clips of moving photographs with their exact optical flow."
    output:
        "results/{study}/data/photo_motion/manifest.json",
    log:
        "results/{study}/logs/generate_photo_motion.log",
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **{key: STUDY.settings["photo_motion"][key] for key in ("seed", "size", "num_frames")},
        code=CODE["generate"],
        folder=subpath(output[0], parent=True),
        degradation=STUDY.settings["degradation"],
        clips=["{}={}".format(*item) for item in STUDY.settings["photo_motion"]["clips_per_photo"].items()],
    shell:
        "vsrbench generate --folder {params.folder:q} --degradation {params.degradation:q} --seed {params.seed}"
        " --size {params.size} --num-frames {params.num_frames} --clips-per-photo {params.clips:q} --log {log:q}"


rule verify:
    "Check a real data set frame by frame and write down what is there."
    output:
        "results/{study}/data/{dataset}/manifest.json",
    log:
        "results/{study}/logs/verify/{dataset}.log",
    threads: 4
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        code=CODE["verify"],
        degradation=STUDY.settings["degradation"],
        place=lambda wildcards: flags(**STUDY.place(wildcards.dataset)),
    shell:
        "vsrbench verify {params.place:q} --degradation {params.degradation:q} --manifest {output:q}"
        " --workers {threads} --log {log:q}"


rule generate_permuted_cells:
    "Generate the positive control: clips that only attention can restore."
    output:
        "results/{study}/data/permuted_cells/manifest.json",
    log:
        "results/{study}/logs/generate_permuted_cells.log",
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=CODE["generate_permuted_cells"],
        folder=subpath(output[0], parent=True),
        degradation=STUDY.settings["degradation"],
    shell:
        "vsrbench generate-permuted-cells --folder {params.folder:q} --degradation {params.degradation:q} --seed 1"
        " --log {log:q}"


ruleorder: generate_photo_motion > verify
ruleorder: generate_permuted_cells > verify


# Rules that only wait for all data sets take this one file: with another data set, a list of their manifests would
# be another list, and repeat them.
rule all_data_is_good:
    "Every data set of the study is complete and undamaged."
    input:
        expand(
            "results/{study}/data/{dataset}/manifest.json",
            study=STUDY.name,
            dataset=dict.fromkeys(
                (*([STUDY.settings["train_on"]] if STUDY.trained else []), *STUDY.datasets)
            ),
        ),
    output:
        touch("results/{study}/data/all_is_good"),


rule store_frames:
    "Unpack the frames of a split so that a training crop costs no decoding."
    input:
        "results/{study}/data/{dataset}/manifest.json",
    output:
        "results/{study}/data/{dataset}/store/{split}/index.json",
    log:
        "results/{study}/logs/store_frames/{dataset}_{split}.log",
    threads: 4
    resources:
        mem_mb=4000,
        runtime=lambda wildcards: 60 if STUDY.data_set(wildcards.dataset).generated else 600,
    params:
        code=CODE["store"],
    shell:
        "vsrbench store --manifest {input:q} --split {wildcards.split:q} --index {output:q}"
        " --workers {threads} --log {log:q}"
