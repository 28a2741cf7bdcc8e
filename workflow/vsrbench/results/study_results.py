"""What a study measured, read back from its files and checked: scores, runtimes, settings, provenance."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypedDict

import pandas as pd

from models.baselines import BASELINES
from vsrbench.core.config import Variant, load_variant
from vsrbench.core.errors import InputError, wrong_file_remedy
from vsrbench.core.lineage import chain_digest, check
from vsrbench.core.metric_table import METRICS
from vsrbench.core.old_results import refuse_old_names
from vsrbench.results.statistics import average_clips

COLUMNS = (
    "study",
    "variant",
    "seed",
    "dataset",
    "clip",
    "frame",
    *METRICS,
    "mode",
    "tile_overlap",
    "precision",
    "degradation",
    "trained_on",
)
_TEXT = (
    "study",
    "variant",
    "dataset",
    "clip",
    "mode",
    "tile_overlap",
    "precision",
    "degradation",
    "trained_on",
    "code_digest",
    "config_digest",
)


_SCORE_AGAIN = "delete the file and run `make study` to score it again"


@dataclass(frozen=True)
class StudyFiles:
    """The files of a study that its tables, figures and report are made from."""

    evaluations: tuple[Path, ...]  # evaluations/<data set>/<variant>/seed_<seed>.csv
    configs: tuple[Path, ...]  # configs/<variant>.yaml
    runtimes: tuple[Path, ...] = ()  # runtime/<variant>.json
    provenance: tuple[Path, ...] = ()  # runs/<variant>/seed_<seed>/provenance.json
    manifests: tuple[Path, ...] = ()  # data/<data set>/manifest.json
    tuning: tuple[Path, ...] = ()  # tuning/<variant>.json
    inspections: tuple[Path, ...] = ()  # inspections/<data set>/<variant>/seed_<seed>.safetensors

    @property
    def measured(self) -> tuple[Path, ...]:
        """What every table, figure and report rests on."""
        runs = (*self.configs, *self.tuning, *self.provenance, *self.runtimes)
        return (*self.evaluations, *runs, *self.manifests)

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Iterable[str]]) -> Self:
        """Select the inputs of a Snakemake rule that are named like the fields; other inputs are ignored."""
        return cls(**{field.name: tuple(map(Path, inputs.get(field.name, ()))) for field in fields(cls)})


class Exclusion(TypedDict):
    """A test clip that a study leaves out, and why."""

    dataset: str
    clip: str
    reason: str


@dataclass(frozen=True)
class Results:
    """A study's measurements. The variants are in the order of the study file; baselines come last."""

    rows: pd.DataFrame  # one row for each scored frame
    variants: dict[str, Variant]
    runtimes: dict[str, dict[str, Any]]  # the first measurement of each variant
    runs: dict[tuple[str, int], dict[str, Any]]  # provenance of each (variant, seed)
    manifests: dict[str, dict[str, Any]]  # of each data set
    excluded: tuple[Exclusion, ...] = ()  # clips that are left out
    margin: float = 0.05  # dB of PSNR; a smaller difference is regarded as none
    chain: str = ""  # digest of all that this was made from, see `core.lineage`
    tuning: dict[str, dict[str, Any]] = field(default_factory=dict)  # each variant's learning rate sweep
    # The same variants with fewer iterations, by their number.
    shorter: dict[int, "Results"] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.variants["full"].study

    @property
    def budgets(self) -> dict[int, "Results"]:
        """The study at each training budget, in iterations of the full model, from the smallest."""
        return self.shorter | {self.variants["full"].training.iterations: self}

    @property
    def names(self) -> list[str]:
        """Of all that was scored, full first and the baselines last."""
        scored = set(self.rows["variant"])
        return [name for name in (*self.variants, *BASELINES) if name in scored]

    @property
    def datasets(self) -> list[str]:
        """Data sets that were scored, in the order of the evaluations."""
        return list(self.rows["dataset"].unique())

    @property
    def untrained(self) -> list[str]:
        """What no training of this study is behind: the baselines, and variants loaded from checkpoints."""
        return [*BASELINES, *(name for name, variant in self.variants.items() if variant.weights)]

    @property
    def disturbed(self) -> dict[str, str]:
        """By variant, what disturbed the measurement of its runtime; other variants' were undisturbed."""
        reasons = {name: facts.get("disturbed") for name, facts in self.runtimes.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    @property
    def clips(self) -> pd.DataFrame:
        """Means over the frames of a clip, see `statistics.average_clips`."""
        return average_clips(self.rows)

    @property
    def sources(self) -> dict[tuple[str, str], str]:
        """By (dataset, clip), the photograph that a generated clip was cut from; other clips have none."""
        return {
            (dataset, clip["name"]): clip["photographs"][0]
            for dataset, manifest in self.manifests.items()
            for clip in manifest.get("clips", ())
            if "photographs" in clip
        }


def read_results(
    files: StudyFiles, margin: float = Results.margin, exclude: Sequence[Exclusion] = ()
) -> Results:
    """Read one study without the clips in `exclude`.

    An InputError names the file that is not what it should be or not complete, or a clip that is not there.
    """
    variants = [load_variant(path) for path in files.configs]
    manifests = {path.parent.name: _read(path, lambda facts: facts) for path in files.manifests}
    rows = {path: read_rows(path) for path in files.evaluations}
    for path, found in rows.items():
        check_complete(path, found, manifests.get(path.parts[-3], {}))
    results = Results(
        rows=_without(pd.concat(rows.values(), ignore_index=True), exclude),
        variants={variant.variant: variant for variant in variants},
        runtimes={path.stem: _read(path, lambda facts: facts["measurements"][0]) for path in files.runtimes},
        runs={run_of(path): _read(path, lambda facts: facts) for path in files.provenance},
        manifests=manifests,
        margin=margin,
        excluded=tuple(exclude),
        chain=chain_digest(*files.measured),
        tuning={path.stem: _read(path, lambda facts: facts) for path in files.tuning},
    )
    budgets = {variant.training.iterations for variant in variants if variant.shortened}
    return replace(
        _at_budget(results, None), shorter={budget: _at_budget(results, budget) for budget in sorted(budgets)}
    )


def _without(rows: pd.DataFrame, exclude: Sequence[Exclusion]) -> pd.DataFrame:
    for excluded in exclude:
        of_dataset = rows["dataset"] == excluded["dataset"]
        left_out = of_dataset & (rows["clip"] == excluded["clip"])
        if of_dataset.any() and not left_out.any():
            known = ", ".join(sorted(rows.loc[of_dataset, "clip"].unique()))
            raise InputError(
                f"exclude: {excluded['dataset']}: unknown clip {excluded['clip']!r}; expected one of {known}"
            )
        if of_dataset.any() and left_out.sum() == of_dataset.sum():
            raise InputError(
                f"exclude: no clip of {excluded['dataset']} is left; remove it from evaluate_on instead"
            )
        rows = rows[~left_out]
    return rows


def _at_budget(results: Results, iterations: int | None) -> Results:
    """Select the trainings of one budget, under the variants' own names; None is the study's own."""
    names = {
        name: variant.shortened or name
        for name, variant in results.variants.items()
        if (variant.training.iterations if variant.shortened else None) == iterations
    }
    rows = results.rows[results.rows["variant"].isin([*names, *BASELINES])]
    return replace(
        results,
        rows=rows.assign(variant=rows["variant"].replace(names)),
        variants={own: results.variants[name] for name, own in names.items()},
        runs={(names[name], seed): run for (name, seed), run in results.runs.items() if name in names},
    )


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows of one evaluation, one for each scored frame."""
    check(path)
    try:
        rows = pd.read_csv(
            path,
            dtype=dict.fromkeys(_TEXT, str),
            keep_default_na=False,
            na_values={metric: [""] for metric in METRICS},
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; run the study again") from None
    refuse_old_names(path, rows.columns)
    missing = [column for column in COLUMNS if column not in rows]
    if missing or rows.empty:
        fault = f"has no column {missing[0]}" if missing else "holds no row"
        raise InputError(f"{path}: {fault}; {wrong_file_remedy('rows that `vsrbench evaluate` wrote')}")
    return rows


def check_complete(path: Path, rows: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Raise InputError unless `rows`, read from `path`, are those of the manifest's test frames, each once.

    They must be of the data set, variant and seed that `path` names. Without `clips` in the manifest, frames
    are not compared.
    """
    dataset, variant, seed = path.parts[-3], path.parts[-2], path.stem.removeprefix("seed_")
    for column, expected in {"dataset": dataset, "variant": variant, "seed": seed}.items():
        found = set(rows[column].astype(str)) - {expected}
        if found:
            names = ", ".join(sorted(found))
            raise InputError(f"{path}: expected rows of {column} {expected}, got {names}; {_SCORE_AGAIN}")
    if "clips" not in manifest:
        return
    expected_frames = {
        (clip["name"], frame)
        for clip in manifest["clips"]
        if clip["split"] == "test"
        for frame in clip.get("scored", range(clip["frames"]))
    }
    scored = list(zip(rows["clip"], rows["frame"], strict=True))
    missing, unknown = expected_frames.difference(scored), set(scored) - expected_frames
    twice = len(scored) - len(set(scored))
    for what, frames in (("has no row for", missing), ("scores, though the manifest lacks it,", unknown)):
        if frames:
            clip, frame = min(frames)
            more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
            raise InputError(f"{path}: {what} frame {frame} of clip {clip}{more}; {_SCORE_AGAIN}")
    if twice:
        raise InputError(f"{path}: has {twice} rows for frames that it has already scored; {_SCORE_AGAIN}")


def _read(path: Path, take: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    check(path)
    try:
        return take(json.loads(path.read_text()))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run the study again") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise InputError(
            f"{path}: not what the study writes; {wrong_file_remedy('one that it wrote')}"
        ) from None


def run_of(path: Path) -> tuple[str, int]:
    """`runs/<variant>/seed_<seed>/provenance.json`, the other way round."""
    variant, seed = path.parts[-3:-1]
    return variant, int(seed.removeprefix("seed_"))
