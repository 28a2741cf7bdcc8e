"""Every kind of damage to every kind of artefact is named in one line, and its step asked for again.

The cases are generated from `lineage.KINDS`; a new kind is covered by being listed there.
"""

import json
import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from tiny_training import write_stores, write_variant
from workflow_copy import Workflow

from vsrbench.__main__ import main
from vsrbench.core.errors import InputError
from vsrbench.core.lineage import FOLDER, KINDS, Artefact, check, locate, origin, recorded
from vsrbench.core.provenance import code_digest
from vsrbench.orchestration import chain
from vsrbench.orchestration.chain import make_again
from vsrbench.patterns.gradients import measure_gradients
from vsrbench.patterns.learn import learn
from vsrbench.results.study_results import read_rows
from vsrbench.training.train_vsr import train
from vsrbench.training.tuning import choose_learning_rate


@pytest.fixture(scope="module", autouse=True)
def digests_once():
    """The code does not change here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsrbench.results.audit.code_digest", cache(code_digest))
        yield


@pytest.fixture(scope="module")
def studies(finished: Workflow, tmp_path_factory) -> tuple[Path, Path]:
    """The finished study as it was, and a copy to damage."""
    source = finished.folder / "results" / "tiny"
    folder = tmp_path_factory.mktemp("damages") / "results"
    shutil.copytree(source, folder / "tiny", symlinks=True)
    return source, folder / "tiny"


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> tuple[Path, Path]:
    """A study with no more than a sweep over two learning rates, which the tiny study lacks, and a copy."""
    folder = tmp_path_factory.mktemp("sweep")
    study = folder / "results" / "sweep"
    (study / "configs").mkdir(parents=True)
    config = write_variant(study / "configs" / "full.yaml")
    origin("resolve_variant").record(config)
    stores, runs = write_stores(folder), []
    for rate in (0.001, 0.002):
        run = study / "tuning" / "full" / f"rate_{rate}" / "seed_9"
        train(
            **stores, config=config, seed=9, learning_rate=rate, out=run / "weights.safetensors", device="cpu"
        )
        runs.append(run / "provenance.json")
    choose_learning_rate(runs=runs, out=study / "tuning" / "full.json")
    shutil.copytree(study, folder / "damages" / "results" / "sweep")
    return study, folder / "damages" / "results" / "sweep"


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> tuple[Path, Path]:
    """A study of k-patterns without tables, which are like any other's, and a copy."""
    folder = tmp_path_factory.mktemp("patterns")
    study = folder / "results" / "patterns"
    settings = {"layer": "convolutional", "optimiser": "sgd", "k": [2], "functions": ["parity"]}
    settings |= {"rates": [0.3], "tuning_seeds": [9], "tuning_steps": 10, "seeds": [1, 2]}
    settings |= {"steps": 20, "batch_size": 8, "interval": 5}
    for n in (8, 12):
        learn(**settings, n=n, out=study / "runs" / "convolutional" / "sgd" / f"n_{n}.csv")
    measure_gradients(n=[8], k=[2], initialisations=2, out=study / "gradients.csv")
    shutil.copytree(study, folder / "damages" / "results" / "patterns")
    return study, folder / "damages" / "results" / "patterns"


def first_file(artefact: Artefact) -> Path:
    path = artefact.path
    return path if path.is_file() else min(file for file in path.rglob("[!.]*.png"))


def examples(study: Path, kind: str) -> list[Artefact]:
    return [artefact for artefact in recorded(study) if artefact.kind.name == kind]


def flip(artefact: Artefact, other: Artefact) -> None:
    data = bytearray(first_file(artefact).read_bytes())
    data[len(data) // 2] ^= 1
    first_file(artefact).write_bytes(data)


def truncate(artefact: Artefact, other: Artefact) -> None:
    data = first_file(artefact).read_bytes()
    first_file(artefact).write_bytes(data[: len(data) // 2])


def empty(artefact: Artefact, other: Artefact) -> None:
    first_file(artefact).write_bytes(b"")


def delete(artefact: Artefact, other: Artefact) -> None:
    (shutil.rmtree if artefact.path.is_dir() else os.remove)(artefact.path)


def swap(artefact: Artefact, other: Artefact) -> None:
    aside = artefact.path.with_name("aside")
    artefact.path.rename(aside)
    other.path.rename(artefact.path)
    aside.rename(other.path)


def swap_with_records(artefact: Artefact, other: Artefact) -> None:
    swap(artefact, other)
    aside = artefact.record_path.with_name("aside")
    artefact.record_path.rename(aside)
    other.record_path.rename(artefact.record_path)
    aside.rename(other.record_path)


def older(artefact: Artefact, other: Artefact) -> None:
    """The file of an earlier run with its record: it fits itself, but not what was made from it."""
    record = json.loads(artefact.record_path.read_text())
    record["sha256"] = record["content"] = "0" * 64
    artefact.record_path.write_text(json.dumps(record))


def damage_record(artefact: Artefact, other: Artefact) -> None:
    artefact.record_path.write_bytes(artefact.record_path.read_bytes()[:40])


def delete_record(artefact: Artefact, other: Artefact) -> None:
    artefact.record_path.unlink()


DAMAGES = (
    *(flip, truncate, empty, delete, swap, swap_with_records),
    *(older, damage_record, delete_record),
)
CASES = [(kind.name, damage) for kind in KINDS for damage in DAMAGES]
OF_A_SWEEP = {kind.name for kind in KINDS if kind.pattern.startswith("tuning/")}
OF_PATTERNS = {kind.name for kind in KINDS if kind.pattern.startswith(("runs/{}/{}/n_", "gradients"))}
IDS = [f"{kind}-{damage.__name__}" for kind, damage in CASES]


@pytest.mark.parametrize(("kind", "damage"), CASES, ids=IDS)
def test_damage_is_found_and_its_step_repeated(studies, sweeps, patterns, kind, damage):
    whole, study = sweeps if kind in OF_A_SWEEP else patterns if kind in OF_PATTERNS else studies
    found = examples(study, kind)
    assert found, "add this kind to one of the three studies"
    if damage in (swap, swap_with_records) and len(found) < 2:
        pytest.skip(f"one {kind} only")
    artefact, other = found[0], found[-1]
    touched = [artefact, other] if damage in (swap, swap_with_records) else [artefact]
    damage(artefact, other)
    if artefact.path.exists() and damage is not older:
        with pytest.raises(InputError, match="make study"):
            check(artefact.path)
    deep = artefact.kind.large
    asked = []

    def make(targets):
        asked.extend(targets)
        restore(whole, touched)

    try:
        faults = make_again(study, make, deep=deep)
        names = {finding.artefact.name for finding in faults}
        assert artefact.name in names or damage is older
        assert names, "passed in silence"
        assert all("\n" not in finding.line and finding.line.startswith(f"{study}") for finding in faults)
        assert asked or kind == "frame store"
    finally:
        restore(whole, touched)
    for made in touched:
        made.check()


def restore(whole: Path, artefacts: list[Artefact]) -> None:
    """What the step would write: the same bit for bit."""
    for artefact in artefacts:
        shutil.rmtree(artefact.path) if artefact.path.is_dir() else artefact.path.unlink(missing_ok=True)
        source = locate(whole / artefact.name)
        (shutil.copytree if source.path.is_dir() else shutil.copy2)(source.path, artefact.path)
        shutil.copy2(source.record_path, artefact.record_path)


def test_check_ends_with_the_counts(studies, capsys, monkeypatch):
    monkeypatch.setattr(chain, "_changed_clips", lambda study: [])
    assert main(["check", str(studies[1]), "--deep"]) == 0
    assert ": 0 broken, 0 missing, 0 orphaned, 0 made by other code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "status", "counts"),
    [(flip, 2, "1 broken, 0 missing"), (delete, 2, "0 broken, 1 missing"), (older, 2, "1 broken, 0 missing")],
)
def test_check_exits_with_2_where_the_chain_is_broken(sweeps, capsys, damage, status, counts):
    whole, study = sweeps
    (artefact,) = examples(study, "learning rate")
    damage(artefact, artefact)
    try:
        assert main(["check", str(study)]) == status
    finally:
        restore(whole, [artefact])
    assert f"{counts}, 0 orphaned, 0 made by other code" in capsys.readouterr().out
    assert main(["check", str(study)]) == 0


def test_other_code_and_what_no_table_uses_are_listed_without_failing(sweeps, capsys):
    whole, study = sweeps
    (artefact,) = examples(study, "learning rate")
    record = json.loads(artefact.record_path.read_text())
    artefact.record_path.write_text(json.dumps(record | {"code": "0" * 12}))
    try:
        assert main(["check", str(study)]) == 0
    finally:
        restore(whole, [artefact])
    said = capsys.readouterr().out
    assert "made by other code: " in said and said.endswith("0 orphaned, 1 made by other code\n")


def test_check_of_a_folder_that_is_no_study_is_one_line(tmp_path, caplog):
    assert main(["check", str(tmp_path)]) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"] and "\n" not in caplog.text.strip()


def test_raised_scores_are_refused(studies):
    whole, study = studies
    (artefact, *_) = examples(study, "scores")
    artefact.path.write_text(artefact.path.read_text().replace("2", "7", 3))
    try:
        with pytest.raises(InputError, match="changed since evaluate wrote it"):
            read_rows(artefact.path)
    finally:
        restore(whole, [artefact])


def test_a_study_without_records_is_refused(studies, tmp_path):
    shutil.copytree(studies[1] / "runs", tmp_path / "tiny" / "runs")
    with pytest.raises(InputError, match=f"has no {FOLDER}/, so nothing in it can be verified"):
        make_again(tmp_path / "tiny", lambda targets: None)
