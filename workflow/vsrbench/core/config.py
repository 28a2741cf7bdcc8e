"""Studies, variants and their settings: read, merged and checked before any job starts.

A study file (`workflow/config/*.yaml`) says which variants, data sets and seeds to run and at what size.
`ablations/full.yaml` is the complete model and recipe; every other file there states what it changes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from models.config import ModelConfig
from vsrbench.core.errors import InputError, another
from vsrbench.core.files import ROOT

ABLATIONS = ROOT / "ablations"
SCHEMAS = ROOT / "workflow" / "schemas"


@dataclass(frozen=True)
class TrainingConfig:
    """The training recipe; `ablations/full.yaml` gives every value, a study may override it."""

    iterations: int
    batch_size: int  # windows an iteration, over all devices together
    learning_rate: float
    betas: tuple[float, float]
    schedule: str  # cosine_restarts or one_cycle
    minimum_learning_rate: float
    checkpoint_interval: int
    validation_interval: int
    log_interval: int
    periods: tuple[int, ...] = ()  # iterations of each cosine cycle
    restart_weights: tuple[float, ...] = ()
    warmup_iterations: int = 0
    freeze_flow_iterations: int = 0  # SPyNet held fixed for so many iterations
    gradient_clip: float | None = None
    ema_decay: float | None = None
    precision: str = "float32"  # or bfloat16
    activation_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for key in ("betas", "periods", "restart_weights"):
            if not isinstance(getattr(self, key), (list, tuple)):
                raise ValueError(f"training.{key}: must be a list, is {getattr(self, key)!r}")
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key in ("iterations", "batch_size", "checkpoint_interval", "validation_interval", "log_interval"):
            if type(getattr(self, key)) is not int or getattr(self, key) < 1:
                raise ValueError(
                    f"training.{key}: must be a whole number of at least 1, is {getattr(self, key)!r}"
                )
        for key in ("warmup_iterations", "freeze_flow_iterations"):
            if type(getattr(self, key)) is not int or getattr(self, key) < 0:
                raise ValueError(
                    f"training.{key}: must be a whole number of at least 0, is {getattr(self, key)!r}"
                )
        if self.schedule not in ("cosine_restarts", "one_cycle"):
            raise ValueError(f"training.schedule: {self.schedule!r} is neither cosine_restarts nor one_cycle")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"training.precision: {self.precision!r} is neither float32 nor bfloat16")
        rate, low = self.learning_rate, self.minimum_learning_rate
        if not isinstance(rate, float) or not 0 < rate < 1:
            raise ValueError(f"training.learning_rate: must be between 0 and 1, is {rate!r}{_hint(rate)}")
        if not _is_number(low) or not 0 <= low <= rate:
            raise ValueError(
                "training.minimum_learning_rate: must be between 0 and training.learning_rate, is "
                f"{low!r}{_hint(low)}"
            )
        if len(self.betas) != 2 or not all(_is_number(beta) and 0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"training.betas: must be two numbers in [0, 1), are {list(self.betas)}")
        if not all(type(period) is int and period > 0 for period in self.periods):
            raise ValueError(
                f"training.periods: must be whole numbers of at least 1, are {list(self.periods)}"
            )
        if not all(_is_number(weight) and weight > 0 for weight in self.restart_weights):
            raise ValueError(
                f"training.restart_weights: must be numbers above 0, are {list(self.restart_weights)}"
            )
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(
                f"training.restart_weights: needs one for each of the {len(self.periods)} training.periods"
            )
        if self.schedule == "cosine_restarts" and sum(self.periods) < self.iterations:
            raise ValueError(f"training.periods: end before training.iterations {self.iterations}")
        if self.ema_decay is not None and not (_is_number(self.ema_decay) and 0 < self.ema_decay < 1):
            raise ValueError(f"training.ema_decay: must be null or between 0 and 1, is {self.ema_decay!r}")
        if self.gradient_clip is not None and not (_is_number(self.gradient_clip) and self.gradient_clip > 0):
            raise ValueError(f"training.gradient_clip: must be null or above 0, is {self.gradient_clip!r}")
        for key in ("activation_checkpointing", "compile"):
            if type(getattr(self, key)) is not bool:
                raise ValueError(f"training.{key}: must be true or false, is {getattr(self, key)!r}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _hint(value: Any) -> str:
    """What to write for a number that YAML takes for a text."""
    try:
        return f"; for YAML that is a text, write {float(value):.1e}" if isinstance(value, str) else ""
    except ValueError:
        return ""


@dataclass(frozen=True)
class Variant:
    """One network and recipe of a study, fully resolved; this is what a run directory records."""

    study: str
    variant: str
    title: str
    question: str
    because: str | None
    changes: dict[str, dict[str, Any]]  # what differs from the full model, by section
    train_on: str  # the data set
    degradation: str
    model: ModelConfig
    training: TrainingConfig

    def to_dict(self) -> dict[str, Any]:
        """Plain YAML types, in the order of the fields."""
        return json.loads(json.dumps(asdict(self)))


def load_variant(path: Path) -> Variant:
    """A resolved variant, as written to `results/<study>/configs/<variant>.yaml`."""
    data = read_yaml(path)
    try:
        sections = {
            "model": ModelConfig(**data.pop("model")),
            "training": TrainingConfig(**data.pop("training")),
        }
        return Variant(**data, **sections)
    except (KeyError, TypeError, ValueError) as error:
        remedy = another("one of results/<study>/configs/<variant>.yaml")
        raise InputError(f"{path}: not a resolved variant ({error}); {remedy}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an InputError that names the file otherwise."""
    try:
        data = yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path}, line {error.problem_mark.line + 1}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: must hold a mapping of keys to values")
    return data


def check_schema(data: dict[str, Any], schema: str, source: str | Path) -> None:
    """Hold `data` against `workflow/schemas/<schema>.schema.yaml`; one line names the file and the key."""
    import jsonschema  # here, since a machine that only trains reads what was checked before

    validator = jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{schema}.schema.yaml"))
    error = jsonschema.exceptions.best_match(validator.iter_errors(data))
    if error is not None:
        key = ".".join(str(part) for part in error.absolute_path)
        lacking = (
            f"lacks {error.schema['contains']['const']}; add it" if error.validator == "contains" else None
        )
        said = lacking or error.message + (_hint(error.instance) if error.validator == "type" else "")
        raise InputError(f"{source}: {key + ': ' if key else ''}{said}")


def resolve_variant(study: dict[str, Any], name: str) -> Variant:
    """`full.yaml`, the study's overrides, then the changes of `ablations/<name>.yaml`, checked.

    Raises InputError for an unknown variant, an unknown key, a value of the wrong kind, and a change
    that leaves the full model as it is.
    """
    full = _full_model(study)
    if name == "full":
        return _build(study, name, full, full, {})
    path = ABLATIONS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in ABLATIONS.glob("*.yaml")))
        raise InputError(f"{path.relative_to(ROOT)}: there is no variant {name!r}; there are {known}")
    ablation = read_yaml(path)
    check_schema(ablation, "ablation", path.relative_to(ROOT))
    merged = {section: dict(full[section]) for section in ("model", "training")}
    for section, changes in ablation["changes"].items():
        for key, value in changes.items():
            where = f"{path.relative_to(ROOT)}: changes.{section}.{key}"
            if key not in full[section]:
                raise InputError(f"{where}: full.yaml has no such key")
            if value == full[section][key]:
                raise InputError(f"{where}: {value!r} is the full model's own value; nothing is ablated")
            merged[section][key] = value
    if sum(len(changes) for changes in ablation["changes"].values()) > 1 and "because" not in ablation:
        raise InputError(f"{path.relative_to(ROOT)}: changes more than one thing and has no because: line")
    return _build(study, name, ablation, merged, ablation["changes"])


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


def _build(study, name, description, sections, changes) -> Variant:
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
            model=ModelConfig(**sections["model"]),
            training=TrainingConfig(**sections["training"]),
        )
    except (TypeError, ValueError) as error:
        where = "ablations/full.yaml with its overrides" if name == "full" else f"ablations/{name}.yaml"
        raise InputError(f"study {study['study']}: {where}: {error}") from None
