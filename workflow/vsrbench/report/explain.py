"""Where a number in a table came from."""

import json
from collections.abc import Iterator
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any, cast

import pandas as pd

from vsrbench.core.errors import InputError
from vsrbench.core.lineage import FOLDER, check, locate
from vsrbench.core.old_results import refuse_old_study
from vsrbench.report.reach_summary import QUANTITIES, read_reach
from vsrbench.report.tables import COSTS
from vsrbench.results.audit import confirm_chain
from vsrbench.results.statistics import average_clips
from vsrbench.results.study_results import read_rows

CLIPS_SHOWN = 10
_OF_DIFFERENCES = ("_difference", "_low", "_high")


def explain(table: Path, cell: str) -> None:
    """Print the value of `<variant>:<column>`, its parts, and the runs behind it.

    Of a difference both sides are shown. `table` is any `ablations.*` of a study; `column` is one of
    `ablations.csv`. In `results/claims/`, `cell` is `<claim>:<study>` and what is printed is the verdict; in
    `reach.*` it is `<variant>:<quantity>`; in `cells.*` of a study of k-patterns
    `<layer>:<optimiser>:<n>:<function>:<k>` and in `gradients.*` `<layer>:<n>:<k>`. Of tables that were
    copied without their study, the runs are only named. Raises InputError for a cell that the
    table does not have.
    """
    table = Path(table)
    if (verdicts := table.with_name("verdicts.csv")).is_file():
        _explain_verdict(verdicts, cell)
    elif table.stem == "reach":
        _explain_reach(table.with_name("reach.csv"), cell)
    elif table.stem in ("cells", "trainings"):
        _explain_pattern(table.with_name("cells.csv"), cell)
    elif table.stem == "gradients":
        _explain_gradient(table.with_name("gradients.csv"), cell)
    else:
        _explain_ablation(table.with_name("ablations.csv"), cell)


def _explain_ablation(wide: Path, cell: str) -> None:
    refuse_old_study(wide.parent.parent)
    try:
        rows = pd.read_csv(wide, dtype={"code_digests": str, "runs": str, "chain": str}, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{wide}: {error}; name a table of a study, such as results/demo/tables/ablations.csv"
        ) from None
    _confirm(wide, rows)
    variant, _, column = cell.partition(":")
    if variant not in set(rows["variant"]):
        raise InputError(f"{wide}: has no variant {variant!r}; it has {', '.join(rows['variant'].unique())}")
    if column not in rows:
        raise InputError(f"{wide}: has no column {column!r}; it has {', '.join(rows.columns)}")
    study = wide.parent.parent
    for _, row in rows[rows["variant"] == variant].iterrows():
        print(f"{row['dataset']}, {variant}: {column} = {row[column]}")
        for line in _cost(study, row, column) if column.startswith(COSTS) else _scores(study, row, column):
            print(f"  {line}")
        if column.endswith(_OF_DIFFERENCES) and variant != "full":
            full = rows[(rows["variant"] == "full") & (rows["dataset"] == row["dataset"])].iloc[0]
            print("  compared with")
            for line in _scores(study, full, column):
                print(f"  {line}")


def _explain_reach(table: Path, cell: str) -> None:
    """Print a quantity of `reach.csv`, its value with each seed, and the runs behind them."""
    rows = _find(table, ["variant", "quantity"], cell)
    study = table.parent.parent
    for _, row in rows.iterrows():
        print(
            f"{row['dataset']}, {row['variant']}: {row['quantity']} = {row['mean']:.6g} "
            f"[{row['low']:.6g}, {row['high']:.6g}], {row['seeds']} seeds"
        )
        for name in row["runs"].split():
            for line in _reach(study, f"reach/{row['dataset']}/{name}.safetensors", row["quantity"]):
                print(f"  {line}")
            for line in _run(study / "runs" / name):
                print(f"  {line}")


def _reach(study: Path, name: str, quantity: str) -> Iterator[str]:
    path = study / name
    if path.is_file():
        check(path)
        yield f"{name}: {QUANTITIES[quantity](read_reach(path)[0]):.6g}"
    else:
        yield name


def _explain_pattern(table: Path, cell: str) -> None:
    """Print a cell of a study of k-patterns and its trainings."""
    keys = ["layer", "optimiser", "n", "function", "k"]
    row = _find(table, keys, cell).iloc[0]
    print(f"{cell}: {row['learnt']} of {row['seeds']} seeds learnt, learning rate {row['rate']:g}")
    trainings = table.with_name("trainings.csv")
    check(trainings)
    study = table.parent.parent
    found = pd.read_csv(trainings, dtype={"steps_to_learn": "Int64"})
    found = found[(found[keys] == row[keys]).all(axis=1)]
    for training in cast("Iterator[Any]", found.itertuples()):
        ended = "diverged" if isnan(training.accuracy) else f"accuracy {training.accuracy:.4f}"
        print(f"  seed {training.seed}: {ended} after {training.steps:,} steps, loss {training.loss:.4f}")
    for name in found["run"].unique():
        run = study / "runs" / name
        check(run)
        for line in _provenance(run.with_suffix(".json"), f"runs/{name}"):
            print(f"  {line}")


def _explain_gradient(table: Path, cell: str) -> None:
    """Print a gradient at initialisation, and the code that computed it."""
    row = _find(table, ["layer", "n", "k"], cell).iloc[0]
    value, error = row["squared_gradient"], row["standard_error"]
    print(f"{cell}: squared gradient {value:.6g}, standard error {error:.2g}")
    print(f"  computed exactly for each of {row['initialisations']} initialisations, seeds from 0 on")
    if row["bound"] == row["bound"]:
        print(f"  bound {row['bound']:.6g}")
    source = locate(table.parent.parent / "gradients.csv")
    if source is not None and source.record_path.is_file():
        source.check()
        record = source.read_record()
        print(f"  {source.name}: written by {record['step']}, code {record['code']}")


def _find(table: Path, keys: list[str], cell: str) -> pd.DataFrame:
    """Return the rows whose values of `keys` are those of `cell`, which has them between colons."""
    check(table)
    try:
        rows = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise InputError(f"{table}: {error}; name a table of a study") from None
    names = rows[keys].astype(str).agg(":".join, axis=1)
    if cell not in set(names):
        raise InputError(f"{table}: has no cell {cell!r}; it has {', '.join(names.unique())}")
    return rows[names == cell]


def _explain_verdict(verdicts: Path, cell: str) -> None:
    """Print the verdict on `<claim>:<study>`, that of each budget, and the runs behind them."""
    rows = pd.read_csv(verdicts)
    claim, _, study = cell.partition(":")
    rows = rows[(rows["claim"] == claim) & (rows["study"] == study)]
    if rows.empty:
        known = pd.read_csv(verdicts)[["claim", "study"]].agg(":".join, axis=1)
        raise InputError(f"{verdicts}: has no verdict {cell!r}; it has {', '.join(known)}")
    budgets = pd.read_csv(verdicts.with_name("budgets.csv"), keep_default_na=False)
    folder = verdicts.parent.parent / study
    for row in cast("Iterator[Any]", rows.itertuples()):
        expected = f"{row.variant} should be {row.expected.replace('_', ' ')} {row.reference}"
        print(f"{row.dataset}, {study}: {claim} {row.verdict}; {expected}")
        found = budgets[(budgets["claim"] == claim) & (budgets["study"] == study)]
        for _, budget in found[found["dataset"] == row.dataset].iterrows():
            print(
                f"{budget['iterations']} iterations: {budget['verdict'] or 'no interval'}, difference "
                f"{_number(budget['difference'])} [{_number(budget['low'])}, {_number(budget['high'])}], "
                f"p after Holm's correction {_p(budget['p_holm'])}, {budget['seeds']} seeds, "
                f"chain {budget['chain'] or 'unknown'}"
            )
            for side, heading in (("", "variant"), ("reference_", "held against")):
                print(f"  {heading}")
                for line in _cells(folder, budget, side):
                    print(f"    {line}")


def _p(value: Any) -> str:
    return f"{float(value):.2g}" if value != "" else "–"


def _number(value: Any) -> str:
    """Four decimals and a sign; a dash for an empty cell."""
    return f"{float(value):+.4f}" if value != "" else "–"


def _cells(folder: Path, budget: pd.Series, side: str) -> Iterator[str]:
    """List the evaluations and runs of one side, read where the study is there."""
    evaluations, runs = (budget[f"{side}{key}"].split() for key in ("evaluations", "runs"))
    if not folder.is_dir():
        yield f"{folder} is not here: `make study STUDY={folder.name}` makes it anew"
    yield from _evaluations(folder, evaluations, runs, budget["metric"])


def _confirm(wide: Path, rows: pd.DataFrame) -> None:
    """Raise InputError unless the table is the one that was written, from the records as they are now."""
    check(wide)
    printed = str(rows["chain"].iloc[0]) if "chain" in rows and rows["chain"].notna().all() else ""
    if not printed:
        return
    if not (wide.parent.parent / FOLDER).is_dir():
        print(f"chain {printed}: the study's records are not here; `make study` makes it anew")
        return
    if fault := confirm_chain(wide.parent.parent, printed):
        raise InputError(f"{wide}: {fault}; start `make study` again")
    print(f"chain {printed}: confirmed by the records")


def _scores(study: Path, row: pd.Series, column: str):
    """Mean by seed with the evaluation it is from, then the training run behind that."""
    metric = next(
        (name for name in row.index if column.startswith(name) and f"{name}_spread" in row.index), None
    )
    runs = row["runs"].split() if isinstance(row["runs"], str) else []
    yield from _evaluations(study, row["evaluations"].split(), runs, metric)


def _evaluations(study: Path, evaluations: list[str], runs: list[str], metric: str | None) -> Iterator[str]:
    """Each evaluation with its mean of `metric`, if there is one, and the training run behind it."""
    for number, evaluation in enumerate(evaluations):
        if metric and (study / evaluation).is_file():
            clips = average_clips(read_rows(study / evaluation))[metric]
            named = zip(clips.index.get_level_values("clip"), clips, strict=True)
            listed = ", ".join(f"{clip} {value:.4f}" for clip, value in islice(named, CLIPS_SHOWN))
            more = ", ..." if len(clips) > CLIPS_SHOWN else ""
            yield f"{evaluation}: {clips.mean():.4f}, the mean over clips ({listed}{more})"
        else:
            yield evaluation
        if number < len(runs):
            yield from _run(study / runs[number])


def _run(run: Path) -> Iterator[str]:
    """Where the weights of a network come from; only its name where the run is not here."""
    yield from _provenance(run / "provenance.json", run.relative_to(run.parents[2]).as_posix())
    for mirror in run.parents[2].glob(f"wandb/offline-run-*-{run.parent.name}-{run.name}-*"):
        yield f"    W&B run {mirror.name.split('-', 3)[3]}"


def _provenance(path: Path, name: str) -> Iterator[str]:
    if not path.parent.is_dir():
        yield f"  {name}"
        return
    check(path)
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; run the study again") from None
    changed = " with uncommitted changes" if facts.get("uncommitted_changes") else ""
    machine = facts.get("machine", {})
    yield f"  {name}: revision {facts.get('revision')}{changed}"
    settings = facts.get("identity", {}).get("settings")
    yield f"    code {facts.get('code_digest')}" + (f", settings {settings}" if settings else "")
    yield f"    on {machine.get('device')} ({machine.get('processor')}) of {machine.get('host')}"
    if "source" in facts:
        yield f"    loaded from {facts['source']}, sha256 {facts['sha256']}"
    hours = f"{facts['device_hours']} device-hours, " if "device_hours" in facts else ""
    yield f"    {hours}ended {facts.get('ended')}"


def _cost(study: Path, row: pd.Series, column: str):
    path = study / "runtime" / f"{row['variant']}.json"
    if not path.is_file():
        yield "not measured: a baseline has no network"
        return
    found = json.loads(path.read_text())["measurements"][0]
    how = f"{found['width']}x{found['height']} input, {found['mode']}, {found['precision']}"
    yield f"{path.relative_to(study)}: {how}"
    yield f"latency_ms {found['latency_ms']}"
    if found.get("disturbed"):
        yield f"disturbed: {found['disturbed']}"
    yield f"machine {found['machine']}"
