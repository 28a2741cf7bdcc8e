"""What a finished study hands over: Snakemake's own report as one file, and the address of its page."""

import fcntl
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from browser import CHROMIUM, open_browser, open_category

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
