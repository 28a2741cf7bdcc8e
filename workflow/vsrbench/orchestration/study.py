"""One study: its settings, variants and data sets, all checked before any job starts."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.baselines import ANCHOR, BASELINES, SEED
from vsrbench.core.claims import check_tested
from vsrbench.core.config import STUDIES, Variant, at_smaller_budgets, check_schema, resolve_variant
from vsrbench.core.errors import InputError, check_known
from vsrbench.core.metric_table import METRICS
from vsrbench.core.old_results import refuse_old_study
from vsrbench.data.registry import DATA_SETS, FOLDER, SCORABLE, TRAINABLE, DataSet

PHOTO_MOTION = "photo_motion"

# How the clips of a folder of one's own are split if the study trains on it.
SPLIT = {"seed": 1, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Study:
    """What `load_study` found to be in order."""

    name: str
    settings: dict[str, Any]  # the study file, as its schema describes it
    variants: dict[str, Variant]
    shorter: dict[str, Variant]  # the variants at each smaller budget
    baselines: tuple[str, ...]
    datasets: tuple[str, ...]  # scored ones that are there
    data_root: Path | None  # where the published data sets lie
    left_out: tuple[str, ...]  # data sets that were to be scored if present, and where they would lie

    @property
    def networks(self) -> dict[str, Variant]:
        """Every network of the table: the variants at every budget, and those loaded from checkpoints."""
        return self.variants | self.shorter

    @property
    def loaded(self) -> dict[str, Variant]:
        """The variants that are loaded from a checkpoint instead of trained."""
        return {name: variant for name, variant in self.variants.items() if variant.weights}

    @property
    def trained(self) -> dict[str, Variant]:
        """Every network that the study trains: the other variants at every budget."""
        return {name: variant for name, variant in self.networks.items() if not variant.weights}

    def tuned(self, variant: str) -> str | None:
        """Return the variant whose learning rate is tuned for `variant`; None if the study fixes it."""
        return self.trained[variant].shortened or variant if self.settings["tune"] else None

    def scores(self, variant: str) -> tuple[str, ...]:
        """Return the data sets that `variant` can be scored on: only generated clips have exact flow."""
        if variant in self.networks and self.networks[variant].model.flow_source == "oracle":
            return tuple(dataset for dataset in self.datasets if self.data_set(dataset).exact_flow)
        return self.datasets

    def seeds(self, name: str) -> list[int]:
        """Return the seeds that a network or baseline is scored with; one that is not trained has none."""
        return [SEED] if name in BASELINES or name in self.loaded else self.settings["seeds"]

    def data_set(self, name: str) -> DataSet:
        """Return the entry of a data set; the study's own folders share the entry `folder`."""
        return DATA_SETS.get(name, FOLDER)

    def place(self, dataset: str) -> dict[str, Any]:
        """How `vsrbench verify` finds a real data set: its kind, its folder and, for one's own, its name.

        A folder that the study trains on is also told how to split its clips.
        """
        if dataset not in self.settings["folders"]:
            return {"dataset": dataset, "root": self.data_root}
        place = {"dataset": FOLDER.name, "root": self.settings["folders"][dataset], "name": dataset}
        if dataset != self.settings["train_on"]:
            return place
        split = self.settings["split"]
        shares = {f"{name}_share": split[name] for name in ("validation", "test")}
        return place | {"split_seed": split["seed"]} | shares

    def min_clip_size(self) -> dict[str, int]:
        """Frames, and edge in LQ pixels, that a clip must have for every network to restore it."""
        return _min_clip_size(self.settings, self.variants)


def load_study(settings: dict[str, Any]) -> Study:
    """Check a study's settings, resolve its variants and find its data sets.

    The environment variables VSRBENCH_DATA and VSRBENCH_LPIPS_WEIGHTS go before `data_root` and
    `lpips_weights`. Raises InputError with one line that names the key or the folder.
    """
    source = f"study {settings.get('study', '?')}"
    check_settings(settings, source)
    defaults: dict[str, Any] = {
        "folders": {},
        "flow_weights": None,
        "baselines": [ANCHOR.name],
        "equivalence_margin": 0.05,
        "budgets": [],
        "exclude": [],
        "keep_checkpoints": False,
        "reach": False,
        "scatter": {},
        "split": SPLIT,
        "tune": None,
        "weights": {},
    }
    settings = defaults | settings
    for key, variable in (("data_root", "VSRBENCH_DATA"), ("lpips_weights", "VSRBENCH_LPIPS_WEIGHTS")):
        settings[key] = os.environ.get(variable) or settings.get(key)
    for key in ("lpips_weights", "flow_weights"):
        if settings.get(key) and not Path(settings[key]).exists():
            raise InputError(
                f"{source}: {key}: {settings[key]} does not exist; correct the path or set it to null"
            )
    _check_writable(Path("results") / settings["study"])
    refuse_old_study(Path("results") / settings["study"])
    root = Path(settings["data_root"]) if settings["data_root"] else None
    _check_weights(settings, source)
    trains = set(settings["variants"]) > set(settings["weights"])
    if trains and settings["train_on"] not in settings["folders"]:
        _require(settings["train_on"], root, source)
    datasets, left_out = [], []
    for dataset, need in settings["evaluate_on"].items():
        if dataset in settings["folders"]:
            continue  # with the others below
        if need == "required":
            _require(dataset, root, source)
        missing = DATA_SETS[dataset].missing(root)
        if missing is None:
            datasets.append(dataset)
        elif root is not None and not root.is_dir():
            raise InputError(
                f"{source}: data_root: {root} is not a folder; correct it, or VSRBENCH_DATA if set"
            )
        elif root is not None:
            left_out.append(f"{dataset}, {missing} does not exist")
    for name, folder in settings["folders"].items():
        if not Path(folder).is_dir():
            raise InputError(f"{source}: folders.{name}: {folder} is not a folder; correct the path")
        if name != settings["train_on"] or settings["split"]["test"]:
            datasets.append(name)
    if not datasets:
        raise InputError(f"{source}: evaluate_on: none of its data sets is available; name one that is")
    variants = {name: resolve_variant(settings, name) for name in settings["variants"]}
    for name, variant in variants.items():
        _check_scoring(settings["evaluation"], name, variant, source)
        if not variant.weights:
            _check_flow(settings["train_on"], variant, variants["full"], source)
        if PHOTO_MOTION in (settings["train_on"], *datasets):
            _check_window(settings["photo_motion"], name, variant, source)
    _check_sizes(settings, variants, source)
    return Study(
        name=settings["study"],
        settings=settings,
        variants=variants,
        shorter={each.variant: each for each in at_smaller_budgets(settings, variants.values())},
        baselines=tuple(settings["baselines"]),
        datasets=tuple(datasets),
        data_root=root,
        left_out=tuple(left_out),
    )


def check_settings(settings: dict[str, Any], source: str | Path) -> None:
    """Raise InputError, which names `source` and the key, where a study file has a wrong form or name."""
    check_trains_networks(settings, source)
    check_schema(settings, "study", source)
    folders = settings.get("folders", {})
    check_known("data set", settings["train_on"], (*TRAINABLE, *folders), f"{source}: train_on")
    for dataset in settings["evaluate_on"]:
        check_known("data set", dataset, (*SCORABLE, *folders), f"{source}: evaluate_on")
    for name in folders:
        if name in DATA_SETS:
            raise InputError(f"{source}: folders.{name}: is the name of a data set; choose another name")
    for name in settings.get("weights", {}):
        check_known("variant of the study", name, settings["variants"], f"{source}: weights")
    if "full" in settings.get("weights", {}) and settings.get("budgets"):
        raise InputError(f"{source}: budgets: full is loaded, so it has one budget; leave them out")
    _check_split(settings, source)
    for name in settings.get("scatter", {}):
        check_known("data set", name, (*settings["evaluate_on"], *folders), f"{source}: scatter")
    for index, excluded in enumerate(settings.get("exclude", ())):
        scored = (*settings["evaluate_on"], *folders)
        check_known("data set", excluded["dataset"], scored, f"{source}: exclude.{index}.dataset")
    _check_baselines(settings, source)
    _check_metrics(settings["evaluation"]["metrics"], source)
    check_tested(settings["study"], settings["variants"], [*settings["evaluate_on"], *folders])
    if both := set(settings["seeds"]).intersection((settings.get("tune") or {}).get("seeds", ())):
        raise InputError(f"{source}: tune.seeds: {min(both)} is a seed of the study; choose another")


def check_trains_networks(settings: dict[str, Any], source: str | Path) -> None:
    """Raise InputError for a study of k-patterns, of which Snakemake alone knows how it stands."""
    if "k_patterns" in settings:
        raise InputError(
            f"{source}: k_patterns: trains no video network; only `make study` runs such a study"
        )


def _check_weights(settings: dict[str, Any], source: str) -> None:
    missing = []
    for name, path in settings["weights"].items():
        if not Path(path).is_file():
            where = resolve_variant(settings, name).model.published_at
            remedy = f"get it ({where}), or correct the path" if where else "correct the path"
            missing.append(f"{source}: weights.{name}: {path} does not exist; {remedy}")
    if missing:
        raise InputError("\n".join(missing))


def _check_split(settings: dict[str, Any], source: str | Path) -> None:
    train_on, split = settings["train_on"], settings.get("split")
    if train_on not in settings.get("folders", {}):
        if split:
            raise InputError(
                f"{source}: split: {train_on} has its own split; leave it out, or train on one of folders"
            )
        return
    validation, test = ((split or SPLIT)[name] for name in ("validation", "test"))
    if validation + test >= 1:
        raise InputError(f"{source}: split: validation and test leave no clip for training; lower them")
    if test == 0 and train_on in settings["evaluate_on"]:
        raise InputError(f"{source}: evaluate_on: {train_on} has no test clips at split.test 0; raise it")


def _check_baselines(settings: dict[str, Any], source: str | Path) -> None:
    baselines = settings.get("baselines", [ANCHOR.name])
    for name in baselines:
        check_known("baseline", name, BASELINES, f"{source}: baselines")
    if ANCHOR.name not in baselines:
        raise InputError(f"{source}: baselines: {ANCHOR.name} is missing; the gate needs it")
    for name in settings["variants"]:
        if name in BASELINES:
            raise InputError(f"{source}: variants: {name} is a baseline; list it under baselines")


def check_names(files: Iterable[Path | str], settings: dict[str, Any]) -> None:
    """Raise InputError where a file of `workflow/config/` names another study than itself.

    A copied file whose `study:` was left as it is would write over the results of the other study.
    """
    for file in map(Path, files):
        name = settings.get("study", file.stem)
        if file.parent.resolve() == STUDIES and name != file.stem:
            raise InputError(f"{file}: study: is {name}, not {file.stem}; correct it, or rename the file")


def _require(dataset: str, root: Path | None, where: str) -> None:
    source = DATA_SETS[dataset]
    if (missing := source.missing(root)) is not None:
        kind = "folder" if missing == source.folder(root) else "list"
        raise InputError(f"{where}: {dataset} needs the {kind} {missing}; {source.how_to_get}")


def _min_clip_size(settings: dict[str, Any], variants: dict[str, Variant]) -> dict[str, int]:
    models = [variant.model for variant in variants.values() if variant.model.protocol == "window"]
    tiled = settings["evaluation"]["mode"] == "tiled"
    return {
        "min_frames": max(model.num_frames for model in models) if tiled else 1,
        "min_edge": max(model.feat_size for model in models) if tiled else 1,
    }


def _check_metrics(metrics: list[str], source: str | Path) -> None:
    where = f"{source}: evaluation.metrics"
    for metric in metrics:
        check_known("metric", metric, METRICS, where)
    for required in METRICS.values():
        if required.required and required.name not in metrics:
            raise InputError(
                f"{where}: {required.name} is missing; the gate and the tables need PSNR and SSIM, "
                "in RGB and Y"
            )


def _check_flow(train_on: str, variant: Variant, full: Variant, source: str) -> None:
    name = variant.variant
    if variant.model.flow_source == "oracle" and not DATA_SETS.get(train_on, FOLDER).exact_flow:
        raise InputError(
            f"{source}: variants: {name} needs exact flow, which {train_on} does not have; leave it out or "
            f"train on {' or '.join(name for name in TRAINABLE if DATA_SETS[name].exact_flow)}"
        )
    if variant.model.flow_source == "spynet" and variant.model.flow_num_feat != full.model.flow_num_feat:
        raise InputError(
            f"{source}: variants: {name} changes model.flow_num_feat, but a study has one SPyNet; set it in "
            "overrides"
        )


def _check_sizes(settings: dict[str, Any], variants: dict[str, Variant], source: str) -> None:
    """Sizes in LQ pixels that one setting takes from another."""
    edge = _min_clip_size(settings, variants)["min_edge"]
    for size in settings["runtime"]["sizes"]:
        if min(size) < edge:
            raise InputError(
                f"{source}: runtime.sizes: {size} is less than a tile of {edge}; raise it or lower "
                "model.feat_size"
            )
    crop, edge = settings["flow_training"]["crop_size"], settings["photo_motion"]["size"] // 4
    if crop > edge:
        raise InputError(
            f"{source}: flow_training.crop_size: {crop} is more than a quarter of photo_motion.size, {edge}; "
            "lower it"
        )


def _check_scoring(evaluation: dict[str, Any], name: str, variant: Variant, source: str) -> None:
    """Raise InputError for faults that would otherwise show only after training."""
    if variant.model.protocol == "clip":
        return
    overlap, size = evaluation["tile_overlap"], variant.model.feat_size
    if overlap is not None and overlap >= size:
        raise InputError(
            f"{source}: evaluation.tile_overlap: {overlap} is not below {name}'s feat_size {size}; lower it"
        )
    if evaluation["mode"] == "whole_frame" and variant.model.fixed_size:
        raise InputError(
            f"{source}: evaluation.mode: whole_frame, but {name}'s {variant.model.fixed_size}; "
            "restore it tiled"
        )


def _check_window(made: dict[str, Any], name: str, variant: Variant, source: str) -> None:
    model = variant.model
    if model.num_frames > made["num_frames"]:
        raise InputError(
            f"{source}: photo_motion.num_frames: {made['num_frames']} are fewer than {name}'s num_frames "
            f"{model.num_frames}; raise it"
        )
    if 4 * model.feat_size > made["size"]:
        raise InputError(
            f"{source}: photo_motion.size: {made['size']} is less than four times {name}'s feat_size "
            f"{model.feat_size}; raise it"
        )


def _check_writable(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"{existing}: results cannot be written here; make it a writable folder")
