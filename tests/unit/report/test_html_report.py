"""The report: its words against the numbers, and the page itself in a real browser."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from browser import CHROMIUM, open_browser, open_category
from docutils.core import publish_parts
from synthetic import BASELINE, CLIPS, EFFECTS, write_study

from vsrbench.core.config import ROOT
from vsrbench.report.findings import find_answers, summarise_findings, to_restructured_text
from vsrbench.report.html_report import make_report
from vsrbench.report.tables import tidy_table
from vsrbench.results.study_results import StudyFiles, read_results

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian's package chromium has it")


def read(files: StudyFiles):
    """Results and tidy table of a synthetic study."""
    results = read_results(files)
    return results, tidy_table(results)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> StudyFiles:
    return write_study(tmp_path_factory.mktemp("results") / "small")


@pytest.fixture(scope="module")
def whole(files):
    """Results and tidy table of the study with every variant."""
    return read(files)


@pytest.fixture(scope="module")
def study(files) -> Path:
    """A study with its report and two figures."""
    folder = files.configs[0].parents[1]
    figures = folder / "figures"
    figures.mkdir()
    cv2.imwrite(str(figures / "comparison.png"), np.full((40, 60, 3), 120, np.uint8))
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="40"><rect width="80" height="40"/></svg>'
    )
    (figures / "costs.svg").write_text(drawing)
    make_report(
        files,
        title="A study of <parts> & wholes",
        note="What a reader must know.",
        figures=[figures / "costs.svg", figures / "comparison.png"],
        page=folder / "report.html",
        tables=folder / "tables" / "ablations.html",
        findings=folder / "findings.rst",
        published=folder / "published.csv",
    )
    return folder


def test_answers_follow_the_effects_that_are_there(tmp_path):
    clips = {"photo_motion": {f"clip_{number}": 3 for number in range(8)}}
    effects = {name: EFFECTS[name] for name in ("full", "fcsa", BASELINE)} | {
        "channel_norm": (0.5, 0.15),
        "positional_encoding_as_described": (0.0, 0.15),
    }
    results, tidy = read(write_study(tmp_path / "small", seeds=(1, 2, 3), effects=effects, clips=clips))
    found = {finding.variant: finding.answers[0] for finding in find_answers(results, tidy)}
    assert {name: answer.verdict for name, answer in found.items()} == {
        "fcsa": "worse",
        "channel_norm": "better",
        "positional_encoding_as_described": "open",
    }
    difference, low, high = tidy.loc[("photo_motion", "fcsa", "psnr_rgb"), ["difference", "low", "high"]]
    minus = "−"
    assert f"falls by {-difference:.2f} dB" in found["fcsa"].text
    assert f"{low:.2f} to {high:.2f}".replace("-", minus) in found["fcsa"].text
    assert found["channel_norm"].text.startswith("PSNR RGB rises by 0.")
    assert found["positional_encoding_as_described"].text.startswith("Open: ")


def test_the_summary_says_what_full_reaches_and_counts_every_change_once(whole):
    results, tidy = whole
    findings = find_answers(results, tidy)
    summary = summarise_findings(results, tidy, findings)
    full = tidy.loc[("photo_motion", "full", "psnr_rgb"), "mean"]
    bicubic = tidy.loc[("photo_motion", BASELINE, "psnr_rgb"), "mean"]
    assert f"(4 clips, 3 seeds) the full model reaches {full:.2f} dB PSNR RGB" in summary[0]
    assert f"{full - bicubic:.2f} dB above bicubic" in summary[0]
    for dataset, counted in zip(CLIPS, summary[1::2], strict=False):
        assert counted.startswith(f"Of {len(EFFECTS) - 2} changes to it, on {dataset}: ")
        assert all(
            len(re.findall(rf"\b{name} [+−]", counted)) == 1
            for name in EFFECTS
            if name not in ("full", BASELINE)
        )
    assert "smaller than the published one" in summary[-1]


def test_one_seed_answers_nothing(tmp_path):
    effects = {name: EFFECTS[name] for name in ("full", "fcsa", BASELINE)}
    results, tidy = read(write_study(tmp_path / "small", seeds=(1,), effects=effects))
    answers = [answer for finding in find_answers(results, tidy) for answer in finding.answers]
    assert {answer.verdict for answer in answers} == {"unknown"}
    assert all("nothing follows" in answer.text for answer in answers)


def test_words_survive_restructured_text(whole):
    results, tidy = whole
    findings = find_answers(results, tidy)
    text = to_restructured_text(summarise_findings(results, tidy, findings), findings)
    body = publish_parts(text, writer="html5", settings_overrides={"halt_level": 2})["body"]
    assert "no_positional_encoding" in body and "photo_motion:" in body


def test_the_page_holds_all_and_refers_to_nothing(study):
    page = (study / "report.html").read_text()
    assert "A study of &lt;parts&gt; &amp; wholes" in page and "What a reader must know." in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|\#)[a-z./]""", page)
    for name in EFFECTS:
        assert page.count(f"<code>{name}</code>") >= len(CLIPS)
    assert page.count("data:image/svg+xml;base64,") == 1 and page.count("data:image/png;base64,") == 1
    assert "vertical bars" in page.lower()  # the caption kept in workflow/report/costs.rst


@needs_chromium
def test_the_page_in_a_browser(study, tmp_path):
    with open_browser(tmp_path / "profile") as browser:
        browser.open(study / "report.html")
        assert browser.errors == [] and browser.outgoing() == []
        assert browser.evaluate("[...document.images].map((image) => image.naturalWidth)") == [80, 60]
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1280
        ablations = "document.querySelector('#table-1 table')"
        assert browser.evaluate(f"{ablations}.offsetWidth <= {ablations}.parentNode.clientWidth")

        def column(number: int) -> list[list[str]]:
            """The cells of a column of the ablation table, by group."""
            cell = f"row.cells[{number}].firstChild.textContent.trim()"
            rows = f"[...body.querySelectorAll('tr.row')].map((row) => {cell})"
            return browser.evaluate(f"[...{ablations}.tBodies].map((body) => {rows})")

        before = column(0)
        headings = browser.evaluate(f"[...{ablations}.tHead.rows[0].cells].map((cell) => cell.innerText)")
        psnr = next(
            number for number, heading in enumerate(headings) if "PSNR RGB" in " ".join(heading.split())
        )
        button = f"{ablations}.tHead.rows[0].cells[{psnr}].querySelector('button').click()"
        for order, falling in (("descending", True), ("ascending", False)):
            browser.evaluate(button)
            assert browser.evaluate(f"{ablations}.tHead.rows[0].cells[{psnr}].ariaSort") == order
            for group in column(psnr):
                values = [float(text.removesuffix(" =") or "nan") for text in group]  # "=" marks a tie
                assert values == sorted(values, reverse=falling) and len(set(values)) > 2
        assert sorted(map(sorted, column(0))) == sorted(map(sorted, before)) and column(0) != before
        browser.evaluate(button)
        assert column(0) == before
        browser.evaluate(f"{ablations}.tHead.rows[0].lastElementChild.querySelector('button').click()")
        assert column(0)[0][-1].startswith("Full")  # it has no difference from itself, and comes last


@needs_chromium
@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_leaves_the_page_on_a_narrow_screen(study, tmp_path, width):
    with open_browser(tmp_path / "profile") as browser:
        browser(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True
        )
        browser.open(study / "report.html")
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        boxes = "[...document.querySelectorAll('.scroll')]"
        assert browser.evaluate(f"{boxes}.every((box) => box.clientWidth <= {width})")
        assert browser.evaluate(f"{boxes}.some((box) => box.scrollWidth > box.clientWidth)")


@needs_chromium
def test_the_browser_notices_what_it_must(tmp_path):
    (tmp_path / "frame.html").write_text("<script>console.error('seen')</script>")
    page = tmp_path / "page.html"
    page.write_text(
        '<img src="https://example.org/a.png"><iframe src="frame.html"></iframe><script>nothing()</script>'
    )
    with open_browser(tmp_path / "profile") as browser:
        browser.open(page)
        assert browser.outgoing() == ["https://example.org/a.png"]
        assert any("seen" in error for error in browser.errors)
        assert any("nothing is not defined" in error for error in browser.errors)


WORKFLOW = """
report: "{texts}/study.rst"

rule make_report:
    output:
        report(
            "results/small/tables/ablations.html",
            category="Tables",
            caption="{texts}/ablations.rst",
            labels={{"table": "All tables"}},
        ),
    shell:
        "true"


rule make_figures:
    output:
        report(
            "results/small/figures/costs.svg",
            category="Figures",
            caption="{texts}/costs.rst",
            labels={{"figure": "costs"}},
        ),
    shell:
        "true"


rule all:
    default_target: True
    input:
        rules.make_report.output,
        rules.make_figures.output,
"""


@needs_chromium
def test_snakemakes_own_report_is_one_file_with_answers_tables_and_figures(study, tmp_path):
    (tmp_path / "Snakefile").write_text(WORKFLOW.format(texts=ROOT / "workflow" / "report"))
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({"study": "small", "title": "A title", "note": "A note"})
    )
    (tmp_path / "results").symlink_to(study.parent)
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "study.yaml"]
    for arguments in (["--touch"], ["--report", "report.html"]):
        subprocess.run([*snakemake, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
    alone = (tmp_path / "report.html").rename(tmp_path.parent / f"{tmp_path.name}.html")
    with open_browser(tmp_path / "profile") as browser:
        browser.open(alone)
        browser.wait_for("document.body.innerText.includes('A title')")
        words = browser.evaluate("document.body.innerText")
        assert "Of 9 changes to it, on photo_motion" in words and "A note" in words
        assert browser.evaluate("document.querySelector('.prose').getBoundingClientRect().top") >= 0

        show(browser, "Figures")
        browser.wait_for("[...document.images].some((image) => image.naturalWidth == 80)")

        browser.evaluate("[...document.querySelectorAll('a')].find((a) => a.innerText == 'Results').click()")
        show(browser, "Tables")
        browser.wait_for("document.querySelector('iframe') !== null")
        table = "document.querySelector('#table-1 table')"
        heading = f"{table}.tHead.rows[0].cells[5]"
        rows = f"[...{table}.tBodies[0].querySelectorAll('tr.row')].map((row) => row.cells[5].innerText)"
        browser.in_frame(f"{heading}.querySelector('button').click()")
        values = [float(cell.split()[0]) for cell in browser.in_frame(rows)]
        assert values == sorted(values, reverse=True) and len(set(values)) > 2
        assert browser.errors == [] and browser.outgoing() == []


def show(browser, category: str) -> None:
    """Open the first item of a category in Snakemake's report."""
    open_category(browser, category)
    browser.evaluate("document.querySelector('a[iconname=eye]').click()")
