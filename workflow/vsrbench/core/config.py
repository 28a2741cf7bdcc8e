"""Read, merge and check studies and variants before any job starts.

A study file (`workflow/config/*.yaml`) selects variants, data sets, seeds and sizes. `ablations/full.yaml` is
the complete model and training recipe; every other file in that folder lists what it changes.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from models import network_config
from models.config import DEFAULT, NetworkConfig
from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.files import ROOT
from vsrbench.core.lineage import check
from vsrbench.core.old_results import refuse_old_names

ABLATIONS = ROOT / "ablations"
CLAIMS = ABLATIONS / "claims.yaml"  # the one file there that is no variant
STUDIES = ROOT / "workflow" / "config"
SCHEMAS = ROOT / "workflow" / "schemas"
PRECISIONS = ("float32", "tf32", "bfloat16")  # of products; weights, optimiser and sums stay float32


@dataclass(frozen=True)
class TrainingConfig:
    """The training recipe. `ablations/full.yaml` sets every value, and a study may override it.

    Raises ValueError, naming the key, for a value of the wrong type or out of range.
    """

    iterations: int
    batch_size: int  # windows per iteration, over all devices together
    learning_rate: float
    betas: tuple[float, float]
    schedule: str  # cosine_restarts or one_cycle
    minimum_learning_rate: float
    checkpoint_interval: int
    validation_interval: int
    log_interval: int
    periods: tuple[int, ...] = ()  # iterations of each cosine cycle
    restart_weights: tuple[float, ...] = ()  # peak of each cycle, relative to learning_rate
    warmup_iterations: int = 0
    freeze_flow_iterations: int = 0  # iterations at the start with SPyNet's weights fixed
    gradient_clip: float | None = None  # largest norm of the gradient
    ema_decay: float | None = None  # of the weight average that is evaluated
    precision: str = "float32"  # one of PRECISIONS
    activation_checkpointing: bool = False
    compile: bool = False
    deterministic: bool = True  # on a GPU: operations whose results do not depend on the order of threads
    micro_batch: int | str | None = None  # windows of a device at once; "auto": as many as fit; None: all

    def __post_init__(self) -> None:
        for key in ("betas", "periods", "restart_weights"):
            _expect(isinstance(getattr(self, key), (list, tuple)), key, "a list", getattr(self, key))
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key, minimum in _MINIMA.items():
            value = getattr(self, key)
            _expect(type(value) is int and value >= minimum, key, f"an integer of at least {minimum}", value)
        for key, choices in _CHOICES.items():
            if (value := getattr(self, key)) not in choices:
                raise ValueError(
                    f"training.{key}: unknown value {value!r}; expected one of {', '.join(choices)}"
                )
        for key in ("activation_checkpointing", "compile", "deterministic"):
            _expect(type(getattr(self, key)) is bool, key, "true or false", getattr(self, key))
        self._check_rates()
        self._check_periods()
        self._check_optional()

    def _check_rates(self) -> None:
        rate, low, betas = self.learning_rate, self.minimum_learning_rate, self.betas
        _expect(isinstance(rate, float) and 0 < rate < 1, "learning_rate", "a number between 0 and 1", rate)
        valid = _is_number(low) and 0 <= low <= rate
        _expect(valid, "minimum_learning_rate", "a number from 0 to training.learning_rate", low)
        valid = len(betas) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in betas)
        _expect(valid, "betas", "two numbers in [0, 1)", list(betas))

    def _check_periods(self) -> None:
        periods, weights = list(self.periods), list(self.restart_weights)
        valid = all(type(period) is int and period > 0 for period in periods)
        _expect(valid, "periods", "integers of at least 1", periods)
        valid = all(_is_number(weight) and weight > 0 for weight in weights)
        _expect(valid, "restart_weights", "numbers above 0", weights)
        _expect(len(periods) == len(weights), "restart_weights", "one for each of training.periods", weights)
        valid = self.schedule != "cosine_restarts" or sum(periods) >= self.iterations
        _expect(valid, "periods", f"a sum of at least training.iterations {self.iterations}", periods)

    def _check_optional(self) -> None:
        decay, clip, share = self.ema_decay, self.gradient_clip, self.micro_batch
        valid = decay is None or (_is_number(decay) and 0 < decay < 1)
        _expect(valid, "ema_decay", "null or a number between 0 and 1", decay)
        valid = clip is None or (_is_number(clip) and clip > 0)
        _expect(valid, "gradient_clip", "null or a number above 0", clip)
        valid = share in (None, "auto") or (type(share) is int and share > 0)
        _expect(valid, "micro_batch", "null, auto or an integer of at least 1", share)


_MINIMA = {
    "iterations": 1,
    "batch_size": 1,
    "checkpoint_interval": 1,
    "validation_interval": 1,
    "log_interval": 1,
    "warmup_iterations": 0,
    "freeze_flow_iterations": 0,
}
_CHOICES = {"schedule": ("cosine_restarts", "one_cycle"), "precision": PRECISIONS}


def _expect(valid: bool, key: str, expected: str, value: Any) -> None:
    if not valid:
        raise ValueError(f"training.{key}: expected {expected}, got {value!r}{_hint(value)}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _hint(value: Any) -> str:
    """Say how to write a number that YAML reads as a string, such as 1e-3; empty for anything else."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return ""
    return (
        "" if number is None else f"; YAML reads that as a string, write {yaml.safe_dump(number).split()[0]}"
    )


@dataclass(frozen=True)
class Variant:
    """One network and training recipe of a study, fully resolved, as recorded next to its results."""

    study: str
    variant: str
    title: str
    question: str
    because: str | None  # the reason for changing more than one key
    changes: dict[str, dict[str, Any]]  # differences from the full model, by section
    train_on: str  # the data set
    degradation: str
    model: NetworkConfig
    training: TrainingConfig
    shortened: str | None = None  # the variant of which this is a shorter training, if it is one
    weights: str | None = None  # the checkpoint that it is loaded from; None if it is trained

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain YAML types, in the order of the fields."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def load_variant(path: Path) -> Variant:
    """Load a resolved variant from `results/<study>/configs/<variant>.yaml`; InputError for another file."""
    check(path)
    data = read_yaml(path)
    try:
        refuse_old_names(path, (*data["model"], *data["training"]))
        sections: dict[str, Any] = {
            "model": network_config(data.pop("model")),
            "training": TrainingConfig(**data.pop("training")),
        }
        return Variant(**data, **sections)
    except (KeyError, TypeError, ValueError) as error:
        remedy = wrong_file_remedy("one of results/<study>/configs/<variant>.yaml")
        raise InputError(f"{path}: not a resolved variant ({error}); {remedy}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; otherwise raise InputError, naming the file and line."""
    try:
        data = yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of keys to values")
    return data


def check_schema(data: dict[str, Any], schema: str, source: str | Path) -> None:
    """Validate `data` against `workflow/schemas/<schema>.schema.yaml`; InputError names file and key."""
    import jsonschema  # here, because training reads only files that have been checked before

    validator = jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{schema}.schema.yaml"))
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    if error is not None:
        key = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "contains":
            message = f"{error.schema['contains']['const']} is missing; add it"
        else:
            message = error.message + (_hint(error.instance) if error.validator == "type" else "")
        raise InputError(f"{source}: {key + ': ' if key else ''}{message}")


def variant_names() -> list[str]:
    """Names of the variants that `ablations/` describes, sorted."""
    return sorted(file.stem for file in ABLATIONS.glob("*.yaml") if file.name != CLAIMS.name)


def resolve_variant(study: dict[str, Any], name: str) -> Variant:
    """Merge `full.yaml`, the study's overrides and the changes of `ablations/<name>.yaml`, and check them.

    Raises InputError for an unknown variant, an unknown key, an invalid value, and a change that equals the
    full model.
    """
    full = _full_model(study)
    if name == "full":
        return _build(study, name, full, full, {})
    path = ABLATIONS / f"{name}.yaml"
    if name not in variant_names():
        known = ", ".join(variant_names())
        raise InputError(f"{path.relative_to(ROOT)}: unknown variant {name!r}; expected one of {known}")
    ablation = read_yaml(path)
    check_schema(ablation, "ablation", path.relative_to(ROOT))
    if "network" in ablation:
        return _other_network(study, name, ablation, full)
    merged = {section: dict(full[section]) for section in ("model", "training")}
    for section, changes in ablation["changes"].items():
        for key, value in changes.items():
            where = f"{path.relative_to(ROOT)}: changes.{section}.{key}"
            if key not in full[section]:
                raise InputError(f"{where}: full.yaml has no such key")
            if value == full[section][key]:
                raise InputError(f"{where}: {value!r} is already the full model's value; nothing is ablated")
            merged[section][key] = value
    if sum(len(changes) for changes in ablation["changes"].values()) > 1 and "because" not in ablation:
        raise InputError(
            f"{path.relative_to(ROOT)}: changes more than one key; add a because: line that says why"
        )
    return _build(study, name, ablation, merged, ablation["changes"])


def _other_network(
    study: dict[str, Any], name: str, description: dict[str, Any], full: dict[str, Any]
) -> Variant:
    """Resolve a variant that is another network than the full model.

    It is trained like the full model, but for its own changes of `training`. Its settings are its defaults,
    those that all networks of a study share, the study's for this variant, and its own, each over the last.
    """
    path = f"ablations/{name}.yaml"
    network, changes = description["network"], description.get("changes", {})
    if network == DEFAULT:
        raise InputError(f"{path}: network: {network} is the full model's; leave it out")
    shared = {key: full["model"][key] for key in ("num_frames", "feat_size", "flow_num_feat")}
    if ":" in network:  # one's own, which has no flow network of the study's
        del shared["flow_num_feat"]
        own = {**study.get("networks", {}).get(name, {}), **changes.get("model", {})}
        placed = {key: own.pop(key) for key in ("num_frames", "feat_size") if key in own}
        model = shared | placed | {"settings": own}
    else:
        model = shared | study.get("networks", {}).get(name, {}) | changes.get("model", {})
    for key in changes.get("training", {}):
        if key not in full["training"]:
            raise InputError(f"{path}: changes.training.{key}: full.yaml has no such key")
    sections = {
        "model": model | {"network": network},
        "training": full["training"] | changes.get("training", {}),
    }
    return _build(study, name, description, sections, changes | {"model": {"network": network}})


def at_budget(variant: Variant, iterations: int) -> Variant:
    """Return `variant`, named `<variant>_at_<n>`, with every period of its training shortened alike.

    Raises InputError for more iterations than the variant's own.
    """
    training = variant.training
    if iterations >= training.iterations:
        raise InputError(
            f"study {variant.study}: budgets: {iterations} is not below {variant.variant}'s "
            f"training.iterations {training.iterations}; leave it out"
        )
    share = iterations / training.iterations
    shortened = replace(
        training,
        iterations=iterations,
        periods=tuple(ceil(period * share) for period in training.periods),
        warmup_iterations=round(training.warmup_iterations * share),
        freeze_flow_iterations=round(training.freeze_flow_iterations * share),
    )
    return replace(
        variant,
        variant=f"{variant.variant}_at_{iterations}",
        title=f"{variant.title}, {iterations:,} iterations",
        training=shortened,
        shortened=variant.variant,
    )


def at_smaller_budgets(study: dict[str, Any], variants: Iterable[Variant]) -> list[Variant]:
    """Return the trained ones of `variants` at each of the study's `budgets`, from the smallest."""
    trained = [variant for variant in variants if not variant.weights]
    return [at_budget(variant, n) for n in sorted(study.get("budgets", ())) for variant in trained]


def _full_model(study: dict[str, Any]) -> dict[str, Any]:
    path = ABLATIONS / "full.yaml"
    full = read_yaml(path)
    check_schema(full, "full", path.relative_to(ROOT))
    for section, overrides in study.get("overrides", {}).items():
        for key in overrides:
            if key not in full[section]:
                raise InputError(
                    f"study {study['study']}: overrides.{section}.{key}: full.yaml has no such key"
                )
        full[section] |= overrides
    return full


def _build(
    study: dict[str, Any],
    name: str,
    description: dict[str, Any],
    sections: dict[str, Any],
    changes: dict[str, dict[str, Any]],
) -> Variant:
    try:
        return Variant(
            study=study["study"],
            variant=name,
            title=description["title"],
            question=description["question"],
            because=description.get("because"),
            changes=changes,
            train_on=study["train_on"],
            degradation=study["degradation"],
            model=network_config(sections["model"]),
            training=TrainingConfig(**sections["training"]),
            weights=study.get("weights", {}).get(name),
        )
    except (TypeError, ValueError) as error:
        where = "ablations/full.yaml with its overrides" if name == "full" else f"ablations/{name}.yaml"
        raise InputError(f"study {study['study']}: {where}: {error}") from None
