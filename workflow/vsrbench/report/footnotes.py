"""What a reader of the ablation table must know, found in the data: each function looks for one thing."""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from models.baselines import BASELINES
from vsrbench.core.config import Variant
from vsrbench.core.metric_table import INFINITE
from vsrbench.report.published_scores import reduced_settings
from vsrbench.results.statistics import MAX_SEEDS, MIN_SEEDS
from vsrbench.results.study_results import Results

SAME_SIZE = 0.05  # parameters may differ from full's by this share before it is said
UNSTABLE = 4  # times the median spread


class Remark(NamedTuple):
    """A footnote to some rows, each a (dataset, variant); to the whole table where there are none."""

    text: str
    rows: tuple[tuple[str, str], ...] = ()


def find_remarks(results: Results, tidy: pd.DataFrame) -> list[Remark]:
    """All that there is to say; `tidy` as `tables.tidy_table` returns it."""
    checks = (
        _excluded,
        _how_averaged,
        _how_compared,
        _loaded,
        _seeds,
        _tuning,
        _unstable,
        _subset,
        _other_degradation,
        _sizes,
        _exact_flow,
        _protocols,
        _infinite_psnr,
        _lpips,
        _how_timed,
        _disturbed_times,
        _mixtures,
        _smaller_than_published,
    )
    return [remark for check in checks for remark in check(results, tidy)]


def _excluded(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    for clip in results.excluded:
        yield Remark(f"{clip['dataset']}: {clip['clip']} is left out: {clip['reason'].rstrip('.')}.")


def _how_averaged(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    yield Remark(
        "Scores of the 8-bit result: mean over the frames of a clip, then over clips, then over seeds. "
        "± is the standard deviation of the seeds' means."
    )
    frames = results.rows.groupby(["dataset", "clip"])["frame"].nunique()
    lengths = frames.groupby("dataset").nunique()
    for dataset in results.datasets:
        if lengths[dataset] > 1 and (dataset, "full", "psnr_y") in tidy.index:
            full = cast("pd.Series", tidy.xs((dataset, "full", "psnr_y")))
            yield Remark(
                f"{dataset}: clips differ in length. Averaged over frames, as some papers do, full would "
                f"have {full['frame_mean']:.2f} dB PSNR Y instead of {full['mean']:.2f}."
            )


def _how_compared(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    compared = tidy[tidy["headline"] & tidy["difference"].notna()]
    if compared.empty:
        return
    if compared["low"].isna().all():
        yield Remark(
            f"Fewer than {MIN_SEEDS} seeds: points and spread only. No interval is given, and no difference "
            "or rank can be inferred."
        )
        return
    yield Remark(
        "Differences from full are paired by seed; in brackets the 95 % interval on these clips (Student's t "
        "over seeds). Better and worse hold after Holm's correction over all comparisons of a metric in this "
        f"study. ≈ equivalent: the interval lies within ±{results.margin:.2f} dB. ? open: neither."
    )
    yield from _for_other_clips(compared)
    opened = compared[compared["verdict"] == "open"]
    if not opened.empty:
        listed = ", ".join(
            f"{variant} ({dataset}) {_seeds_text(row.seeds_to_close)}"
            for (dataset, variant, _), row in cast(
                "Iterable[tuple[tuple[str, str, str], pd.Series]]", opened.iterrows()
            )
        )
        yield Remark(f"Seeds that would settle what is open, if means and spreads stay: {listed}.")


def _loaded(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    loaded = {name: run for (name, _), run in results.runs.items() if name in results.untrained}
    if loaded:
        listed = ", ".join(
            f"{name} from {run['source']} (sha256 {run['sha256'][:12]})" for name, run in loaded.items()
        )
        yield Remark(f"Loaded from a checkpoint, not trained here: {listed}.", _rows(results, loaded))


def _for_other_clips(compared: pd.DataFrame) -> Iterator[Remark]:
    """Whether what holds on these clips holds for others too."""
    known = compared[compared["low_any_clip"].notna()]
    if known.empty:
        yield Remark("Too few clips for an interval that holds for other clips.")
        return
    holds = known[(known["low_any_clip"] > 0) | (known["high_any_clip"] < 0)]
    listed = ", ".join(f"{variant} ({dataset})" for dataset, variant, _ in holds.index) or "none"
    yield Remark(
        "For other clips of the kind the intervals are wider (in the CSV; clips of one photograph count "
        f"once). They exclude zero for: {listed}."
    )


def _seeds_text(seeds: float) -> str:
    return f"more than {MAX_SEEDS}" if np.isinf(seeds) else f"{seeds:.0f}"


def _unstable(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    """Networks whose scores vary between seeds far more than is usual in the study."""
    headline = tidy[tidy["headline"] & (tidy["seeds"] >= MIN_SEEDS)].droplevel("metric")
    for dataset, rows in cast("Iterable[tuple[str, pd.DataFrame]]", headline.groupby("dataset")):
        spread = rows["spread"].droplevel("dataset").drop(results.untrained, errors="ignore")
        found = spread.index[spread > UNSTABLE * spread.median()]
        if len(found):
            yield Remark(
                f"Unstable training: scores vary between seeds more than {UNSTABLE} times as much as those "
                "of the median network.",
                tuple((dataset, name) for name in found),
            )


def _seeds(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    seeds = (
        results.rows.groupby(["dataset", "variant"])["seed"]
        .nunique()
        .drop(results.untrained, level="variant", errors="ignore")
    )
    for number, rows in seeds[seeds < seeds.max()].groupby(seeds):
        yield Remark(f"Only {number} of {seeds.max()} seeds.", tuple(rows.index))


def _subset(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    clips = results.rows.groupby("dataset")["clip"].unique()
    for dataset, manifest in results.manifests.items():
        subset = manifest.get("subset", {}).get("test")
        if subset and dataset in clips:
            listed = ", ".join(sorted(clips[dataset])[:4])
            yield Remark(f"{dataset}: a subset, {subset} ({listed}); its mean is not the published average.")


def _other_degradation(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    trained = results.rows[results.rows["trained_on"] != ""]
    for (learnt, scored), rows in trained.groupby(["trained_on", "degradation"]):
        if learnt != scored:
            yield Remark(
                f"Scored on {scored} input but trained on {learnt}: not what it was made for.",
                tuple(cast("Iterable[tuple[str, str]]", rows.groupby(["dataset", "variant"]).groups)),
            )


def _sizes(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    sizes = {name: facts["parameters_m"] for name, facts in results.runtimes.items() if name in results.names}
    ratios = {name: size / sizes["full"] for name, size in sizes.items() if "full" in sizes}
    others = {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > SAME_SIZE}
    if others:
        listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in others.items())
        yield Remark(
            f"Not of full's size, which may explain a difference. Ratio: {listed}.", _rows(results, others)
        )


def _exact_flow(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    names = [name for name in results.names if given_exact_flow(results.variants.get(name))]
    if names:
        rows = tuple((dataset, name) for dataset in results.datasets for name in names)
        yield Remark(
            "Is given the exact optical flow, which no one has for real video: a bound, not ranked.", rows
        )


def _protocols(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    """Networks that see more of a clip than the full model's window."""
    whole = {name for name, variant in results.variants.items() if variant.model.protocol == "clip"}
    if whole:
        window = results.variants["full"].model.num_frames
        yield Remark(
            f"Restores whole clips, whole frames at once: a frame sees all others, not a window of {window}.",
            _rows(results, whole),
        )


def given_exact_flow(variant: Variant | None) -> bool:
    """Whether the variant sees what only generated clips can tell it."""
    return variant is not None and variant.model.flow_source == "oracle"


def _infinite_psnr(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    infinite = np.isinf(results.rows[list(INFINITE)]).any(axis=1)
    found = results.rows[infinite].groupby("dataset")
    for dataset, rows in cast("Iterable[tuple[str, pd.DataFrame]]", found):
        frames = len(rows[["clip", "frame"]].drop_duplicates())
        yield Remark(
            f"{dataset}: {frames} of the frames restored exactly by {', '.join(rows['variant'].unique())}. "
            "PSNR is infinite there; it leaves these frames out for every variant, so that all are compared "
            "on the same ones."
        )


def _tuning(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    if not results.tuning:
        return
    sweep = next(iter(results.tuning.values()))
    rates = sorted({run["learning_rate"] for run in sweep["trainings"]})
    number = len({run["seed"] for run in sweep["trainings"]})
    seeds = "a seed that is" if number == 1 else f"{number} seeds that are"
    chosen = ", ".join(f"{name} {found['learning_rate']:g}" for name, found in results.tuning.items())
    shorter = ", at every budget" if results.shorter else ""
    yield Remark(
        f"Each variant has the learning rate, of {', '.join(f'{rate:g}' for rate in rates)}, with the best "
        f"mean PSNR on the validation clips over {seeds} not used here{shorter}: {chosen}."
    )
    on_edge = [name for name, found in results.tuning.items() if found["on_edge"]]
    if on_edge:
        yield Remark(
            "The learning rate chosen lies on the edge of the grid; widen it.", _rows(results, on_edge)
        )


def _lpips(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    if results.rows["lpips_alex"].isna().all():
        evaluations = f"results/{results.rows['study'].iloc[0]}/evaluations"
        yield Remark(
            "LPIPS n/a: not among evaluation.metrics, or no ImageNet backbone at hand. For one, set "
            "VSRBENCH_LPIPS_WEIGHTS to a folder that holds alexnet*.pth and run the study again; or fetch it "
            'once, python -c "import torchvision as t; '
            f"t.models.alexnet(weights='DEFAULT')\", and delete {evaluations} before."
        )


def _how_timed(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    for facts in list(results.runtimes.values())[:1]:
        machine = facts["machine"]
        device = machine["device"]
        if device == "cpu":
            device = f"{machine['processor']} (threads: {machine['threads']})"
        repeats = min(timed["latency_ms"]["repeats"] for timed in results.runtimes.values())
        memory = "of the process" if facts["peak_memory_gib"] is None else "on the device"
        yield Remark(
            f"Operations, time (median of {repeats} repeats or more) and peak memory ({memory}) per output "
            f"frame of {facts['width']}x{facts['height']} input, {facts['mode']} inference, "
            f"{facts['precision']}, on {device}."
        )


def _disturbed_times(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    if results.disturbed:
        listed = "; ".join(f"{name}: {reason}" for name, reason in results.disturbed.items())
        yield Remark(
            "Time measured on a disturbed machine, so too long by an unknown factor: do not compare it. "
            f"{listed}.",
            _rows(results, results.disturbed),
        )


def _mixtures(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    """More than one code, machine, budget or way of inference behind one table."""
    runs = [run for (name, _), run in results.runs.items() if name not in results.untrained]
    networks = results.rows[~results.rows["variant"].isin(list(BASELINES))]
    kinds = {
        "training code (digests)": {run.get("code_digest") for run in runs},
        "evaluation code (digests)": set(results.rows["code_digest"]),
        "training machine": {_device(run) for run in runs},
        "runtime machine": {_device(facts) for facts in results.runtimes.values()},
        "inference": set(networks["mode"]),
        "precision of inference": set(networks["precision"]),
        "training budget (iterations x batch)": {
            f"{variant.training.iterations} x {variant.training.batch_size}"
            for variant in results.variants.values()
            if not variant.weights
        },
    }
    for kind, found in kinds.items():
        if len(found) > 1:
            yield Remark(f"Mixed {kind}: {', '.join(sorted(map(str, found)))}.")
    changed = {name for (name, _), run in results.runs.items() if run.get("skipped_iterations")}
    if changed:
        yield Remark("Skipped iterations whose loss was not finite.", _rows(results, changed))


def _device(facts: dict) -> str:
    machine = facts.get("machine", {})
    return str(machine.get("processor") if machine.get("device") == "cpu" else machine.get("device"))


def _rows(results: Results, names: Collection[str]) -> tuple[tuple[str, str], ...]:
    return tuple((dataset, name) for dataset in results.datasets for name in results.names if name in names)


def _smaller_than_published(results: Results, tidy: pd.DataFrame) -> Iterator[Remark]:
    reductions = reduced_settings(results.variants["full"])
    if reductions:
        yield Remark(f"Smaller than the published study: {reductions}.")
