"""What a finished study hands over, and what an edit repeats."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, open_browser, open_category

from vsrbench.core.errors import InputError
from vsrbench.data.clips import write_frame
from vsrbench.report.research_object import export
from vsrbench.results.audit import MISSING, audit


def planned_jobs(workflow) -> dict[str, int]:
    """How many jobs of each rule a dry run would start."""
    result = workflow.snakemake("-n", "--quiet", "rules")
    assert result.returncode == 0, result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    jobs = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return {rule: count for rule, count in jobs.items() if rule not in ("total", "all")}


def planned(workflow) -> set[str]:
    """Rules that a dry run would start."""
    return set(planned_jobs(workflow))


RESULTS = {"make_tables", "make_figures", "make_report", "sync"}
REACH = {"measure_reach", "compare_reach"}
GATE = {"gate", "all_gates_are_passed"}


def test_study_ends_with_every_variant_in_the_table(finished):
    table = (finished.folder / "results" / "tiny" / "tables" / "ablations.csv").read_text()
    for variant in (*finished.study["variants"], "bicubic"):
        assert f",{variant}," in table
    page = (finished.folder / "results" / "tiny" / "report.html").read_text()
    assert "<h2>Reach</h2>" in page and "Effective receptive fields." in page


def test_second_start_has_nothing_to_do(finished):
    assert planned(finished) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "repeated"),
    [
        ("models/attention.py", "class ", "# a remark\nclass ", set()),
        ("ablations/fcsa.yaml", "title: ", "# a remark\ntitle: ", set()),
        ("ablations/fcsa.yaml", "title: Fully", "title: Wholly", {"resolve_variant"} | RESULTS),
        (
            "ablations/oracle_flow.yaml",
            "flow: oracle",
            "feed_forward: unaligned",
            {"resolve_variant", "write_fingerprint", "train", "evaluate", "measure_runtime"}
            | REACH
            | RESULTS,
        ),
        (
            "workflow/vsrbench/evaluation/metrics.py",
            "_WINDOW, _SIGMA = 11, 1.5",
            "_WINDOW, _SIGMA = 11, 1.4",
            {"write_fingerprint", "evaluate"} | GATE | REACH | RESULTS,
        ),
        (
            "workflow/vsrbench/training/losses.py",
            ".add(1e-12)",
            ".add(1e-6)",
            {"write_fingerprint", "train_flow", "train", "evaluate", "inspect"} | REACH | RESULTS,
        ),
        (
            "workflow/vsrbench/results/statistics.py",
            "CONFIDENCE = 0.95",
            "CONFIDENCE = 0.9",
            {"write_fingerprint"} | GATE | RESULTS,
        ),
        ("workflow/vsrbench/evaluation/gate.py", "PSNR_TOLERANCE, SSIM", "PSNR_TOLERANCE_, SSIM", GATE),
        ("workflow/reference/anchors.csv", "vid4", "Vid4", GATE),
        (
            "workflow/reference/published_results.csv",
            "VSRT",
            "vsrt",
            {"write_fingerprint", "make_tables", "make_report", "sync"},
        ),
        ("workflow/report/report.css", "body", "main", {"write_fingerprint", "make_report"}),
    ],
    ids=[
        *("comment", "comment in an ablation", "title", "ablation", "metric", "loss", "interval"),
        *("tolerance", "anchor", "published score", "style"),
    ],
)
def test_edit_repeats_what_it_touches(finished, file, old, new, repeated):
    finished.edit(file, old, new)
    try:
        assert planned(finished) == repeated
    finally:
        finished.edit(file, new, old)


def test_another_data_set_is_scored_and_repeats_no_training(finished, tmp_path):
    clip = tmp_path / "clips" / "a"
    clip.mkdir(parents=True)
    for index in range(3):
        write_frame(clip / f"{index}.png", np.full((64, 64, 3), 40 * index, np.uint8))
    finished.study["folders"] = {"mine": str(tmp_path / "clips")}
    try:
        jobs = planned_jobs(finished)
    finally:
        del finished.study["folders"]
    assert not {"train_flow", "train", "measure_runtime"} & set(jobs)
    assert jobs["evaluate"] == 5  # bicubic, and two seeds of what needs no exact flow


@pytest.mark.parametrize(
    ("lost", "rule"),
    [
        ("evaluations/photo_motion/fcsa/seed_2.csv", "evaluate"),
        ("runtime/fcsa.json", "measure_runtime"),
        ("inspections/photo_motion/full/seed_1.safetensors", "inspect"),
        ("reach/photo_motion/full/seed_1.safetensors", "measure_reach"),
    ],
    ids=lambda value: value.split("/")[0],
)
def test_what_a_killed_rerun_left_out_is_made_though_the_table_is_there(finished, lost, rule):
    """Snakemake removes what a killed job gave, and asks for it again only where something waits for it."""
    path = finished.folder / "results" / "tiny" / lost
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        assert planned_jobs(finished)[rule] == 1
    finally:
        aside.rename(path)


FIGURES = {
    "differences",
    "costs",
    "comparison",
    "errors",
    "profiles",
    "flow",
    "attention",
    "clips",
    "training",
    "reach",
}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian's package chromium has it")
def test_snakemakes_report_is_one_file_that_shows_every_figure_and_the_tables(finished, tmp_path):
    result = finished.snakemake("--report", str(tmp_path / "report.html"))
    assert result.returncode == 0, result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with open_browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "report.html")
        open_category(browser, "Figures")
        rows = "[...document.querySelectorAll('tr')].filter((row) => row.querySelector('a[iconname=eye]'))"
        names = browser.evaluate(f"{rows}.map((row) => row.innerText.trim())")
        assert set(names) == FIGURES
        for number in range(len(names)):
            browser.evaluate("window.before = document.images[document.images.length - 1].src")
            browser.evaluate(f"{rows}[{number}].querySelector('a[iconname=eye]').click()")
            last = "document.images[document.images.length - 1]"
            browser.wait_for(f"{last}.src != window.before && {last}.naturalWidth > 200")

        browser.open(tmp_path / "report.html")
        open_category(browser, "Tables")
        browser.evaluate("document.querySelector('a[iconname=eye]').click()")
        browser.wait_for("document.querySelector('iframe') !== null")
        text = browser.in_frame("document.querySelector('#table-1 table').innerText")
        assert all(variant in text for variant in (*finished.study["variants"], "bicubic"))
        assert browser.errors == [] and browser.outgoing() == []


@pytest.fixture
def make(finished):
    """Start the finished study as `make study` does."""
    folder = finished.folder
    shutil.copy(folder / "study.yaml", folder / "workflow" / "config" / "tiny.yaml")
    (folder / ".venv").symlink_to(Path(sys.prefix))
    yield partial(
        subprocess.Popen,
        ["sh", "workflow/run_study.sh"],
        cwd=folder,
        env=finished.environment(STUDY="tiny"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (folder / ".venv").unlink()


def test_the_last_words_are_the_address_of_the_report(finished, make):
    """Also where there was nothing left to do."""
    process = make()
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert "Nothing to be done" in text
    page = finished.folder / "results" / "tiny" / "report.html"
    assert text.splitlines()[-1] == f"The report: {page.as_uri()}"


def test_a_start_by_make_waits_for_one_by_hand(finished, make):
    results = finished.folder / "results" / "tiny"
    (results / "wandb" / "mirrored").unlink()
    with open(results / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = make()
        assert process.stdout.readline() == "study: waiting for another run of tiny to end ...\n"
    text, _ = process.communicate()
    assert process.returncode == 0, text
    assert (results / "wandb" / "mirrored").is_file()


@pytest.mark.parametrize("weights", [False, True])
def test_a_study_is_handed_on_as_one_file(finished, tmp_path, weights):
    study = finished.folder / "results" / "tiny"
    export(study, out=tmp_path / "tiny.zip", weights=weights)
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        archive.extractall(tmp_path / "tiny")
    described = json.loads((tmp_path / "tiny" / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in described["@graph"]}
    files = {name for name, entity in entities.items() if "sha256" in entity}
    assert {"tables/ablations.csv", "report.html", "configs/full.yaml", "figures/costs.svg"} < files
    assert ("runs/full/seed_1/weights.safetensors" in files) == weights
    for name in files:
        content = (tmp_path / "tiny" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entities[name]["sha256"], name
        assert content == (study / name).read_bytes()
    run = entities["#run"]
    assert run["instrument"] == {"@id": "Snakefile"} and run["startTime"] < run["endTime"]
    assert {"@id": "tables/ablations.csv"} in run["result"] and {"@id": "configs/full.yaml"} in run["object"]
    assert all(entity["@id"] in entities for entity in run["result"] + run["object"])
    # Whoever receives it can verify what is there.
    artefacts, found = audit(tmp_path / "tiny")
    assert artefacts > 50 and {finding.fault for finding in found} == {MISSING}


def test_a_damaged_study_is_not_handed_on(finished, tmp_path):
    table = finished.folder / "results" / "tiny" / "tables" / "ablations.csv"
    text = table.read_text()
    table.write_text(text.replace("2", "3", 1))
    with pytest.raises(
        InputError, match=r"ablations.csv: changed since make_tables wrote it; .*`vsrbench check"
    ):
        export(table.parents[1], out=tmp_path / "tiny.zip")
    table.write_text(text)
    with pytest.raises(InputError, match=r"--out: .*tiny.tar is not a .zip file"):
        export(table.parents[1], out=tmp_path / "tiny.tar")
    assert list(tmp_path.iterdir()) == []
