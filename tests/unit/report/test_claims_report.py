"""`results/claims/`: made from made-up studies, traced to them; and the committed files belong together."""

import hashlib
import json
import re
import shutil

import pandas as pd
import pytest
from browser import CHROMIUM, open_browser
from conftest import ROOT
from made_up_claims import write_claims_studies, write_claims_study

from vsrbench.core.claims import read_claims, read_studies
from vsrbench.core.config import CLAIMS, STUDIES
from vsrbench.core.errors import InputError
from vsrbench.report.claims_report import README_BLOCK, settle_claims
from vsrbench.report.explain import explain

COMMITTED = ROOT / "results" / "claims"
KINDS = r"holds|holds from [\d,]+ iterations on|does not hold|equivalent|open"


def faults(folder, readme):
    """What of the files in `folder`, and of the block in `readme`, does not belong together."""
    record = json.loads((folder / "verdicts.json").read_text())
    for name, digest in record["files"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            yield f"{name} is another"
    if record["claims"] != hashlib.sha256(CLAIMS.read_bytes()).hexdigest():
        yield "ablations/claims.yaml has changed since"
    if {path.name for path in folder.iterdir()} != {*record["files"], "verdicts.json"}:
        yield "files are missing or too many"
    verdicts = pd.read_csv(folder / "verdicts.csv")
    budgets = pd.read_csv(folder / "budgets.csv", keep_default_na=False)
    expected = {
        f"{claim.name}:{study}:{dataset}"
        for claim in read_claims()
        for study, datasets in claim.tested_in.items()
        for dataset in datasets
    }
    named = verdicts[["claim", "study", "dataset"]].agg(":".join, axis=1)
    if set(named) != expected or dict(zip(named, verdicts["verdict"], strict=True)) != record["verdicts"]:
        yield "verdicts are not those of the claims"
    for study, facts in record["studies"].items():
        rows = budgets[budgets["study"] == study]
        if {*rows["chain"]} != {facts["chain"]} or {*rows["iterations"]} != {*facts["budgets"]}:
            yield f"{study} is of another chain"
        if facts["settings"] != hashlib.sha256((STUDIES / f"{study}.yaml").read_bytes()).hexdigest():
            yield f"{study}.yaml has changed since"
    if list(record["studies"]) != read_studies():
        yield "studies are others than workflow/config/claims.yaml lists"
    table = [
        line
        for line in (folder / "verdicts.md").read_text().partition("\n## ")[0].splitlines()
        if line[:1] == "|"
    ]
    begin, end = README_BLOCK
    shown = [line for line in readme.partition(begin)[2].partition(end)[0].splitlines() if line[:1] == "|"]
    if shown != table:
        yield "README shows other verdicts"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = write_claims_studies(tmp_path_factory.mktemp("results"))
    readme = folder / "README.md"
    readme.write_text("Before.\n" + "an old table\n".join(README_BLOCK) + "After.\n")
    settle_claims(results=folder, readme=readme)
    return folder


def test_every_claim_is_answered_by_its_effect(results):
    rows = pd.read_csv(results / "claims" / "verdicts.csv").set_index(["claim", "study"])
    assert rows["verdict"].str.fullmatch(KINDS).all()
    found = rows["verdict"].xs("aliased", level="study")
    assert found["locality"] == found["token_wise"] == found["exact_flow"] == "holds"
    assert found["alignment"] == "does not hold"
    row = rows.loc["locality", "filtered"]
    assert row["low"] < row["difference"] < row["high"] < -0.3 and row["seeds"] == 5
    assert row["iterations"] == 1000


def test_files_belong_together(results, capsys):
    readme = (results / "README.md").read_text()
    assert not list(faults(results / "claims", readme))
    assert (
        readme.startswith("Before.\n<!--") and readme.endswith("-->\nAfter.\n") and "old table" not in readme
    )
    record = json.loads((results / "claims" / "verdicts.json").read_text())
    trainings = len(list((results / "aliased").glob("runs/*/seed_*/provenance.json")))
    assert record["studies"]["aliased"]["trainings"] == trainings
    assert record["studies"]["aliased"]["device_hours"] == pytest.approx(0.02 * trainings)
    changed = readme.replace("holds: ", "open: ", 1)
    assert list(faults(results / "claims", changed)) == ["README shows other verdicts"]
    page = results / "claims" / "verdicts.md"
    text = page.read_text()
    page.write_text(text + "more\n")
    assert list(faults(results / "claims", readme)) == ["verdicts.md is another"]
    page.write_text(text)


@pytest.mark.skipif(
    not COMMITTED.is_dir(), reason="results/claims is not there; make study STUDY=claims makes it"
)
def test_committed_files_belong_together():
    assert not list(faults(COMMITTED, (ROOT / "README.md").read_text()))


def test_a_verdict_leads_to_its_runs(results, capsys):
    explain(results / "claims" / "verdicts.csv", "exact_flow:aliased")
    said = capsys.readouterr().out
    assert "oracle_flow should be at least full" in said
    assert re.search(
        r"1000 iterations: holds, difference \+0\.\d{4} \[\+0\.\d{4}, \+0\.\d{4}\], p after Holm", said
    )
    for folder in ("oracle_flow", "full_at_250"):
        assert f"evaluations/photo_motion/{folder}/seed_5.csv: " in said
        assert f"runs/{folder}/seed_5: revision abc" in said
    rows = pd.read_csv(results / "aliased" / "evaluations" / "photo_motion" / "full" / "seed_1.csv")
    mean = rows.groupby("clip")["psnr_rgb"].mean().mean()
    assert f"photo_motion/full/seed_1.csv: {mean:.4f}, the mean over clips" in said
    with pytest.raises(InputError, match="has no verdict 'locality:vid4'; it has attention:aliased, "):
        explain(results / "claims" / "verdicts.csv", "locality:vid4")


def test_a_verdict_without_its_study_names_what_is_missing(results, tmp_path, capsys):
    (tmp_path / "claims").mkdir()
    for name in ("verdicts.csv", "budgets.csv"):
        (tmp_path / "claims" / name).write_bytes((results / "claims" / name).read_bytes())
    explain(tmp_path / "claims" / "verdicts.csv", "locality:filtered")
    said = capsys.readouterr().out
    assert "`make study STUDY=filtered` makes it anew" in said
    assert "evaluations/photo_motion/fcsa_at_500/seed_1.csv" in said


def test_pages_show_the_verdicts(results):
    first = (results / "claims" / "index.html").read_text()
    links = set(re.findall(r'href="([^"#]+)"', first))
    assert links == {f"../{study}/report.html" for study in read_studies()}
    assert all((results / "claims" / link).is_file() for link in links)
    for claim in read_claims():
        assert f"<code>{claim.name}</code>" in first and claim.claim.partition(".")[0] in first
    page = (results / "filtered" / "report.html").read_text()
    tested = [claim.name for claim in read_claims() if "filtered" in claim.tested_in]
    shown = page.partition('<section id="claims">')[2].partition("</section>")[0]
    assert re.findall(r"<code>(\w+)</code></th>", shown) == tested


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian's package chromium has it")
def test_the_first_page_in_a_browser(results, tmp_path):
    with open_browser(tmp_path / "profile") as browser:
        browser.open(results / "claims" / "index.html")
        assert browser.errors == [] and browser.outgoing() == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.fixture
def kept(results, tmp_path):
    """The claims' folder beside the results of one study only, as after a clone."""
    for name in ("claims", "filtered"):
        shutil.copytree(results / name, tmp_path / name)
    return tmp_path


def test_studies_without_results_here_keep_their_verdicts(results, kept, capsys):
    settle_claims(results=kept)
    assert capsys.readouterr().out.count("no results on this machine") == len(read_studies()) - 1
    for path in (results / "claims").iterdir():
        assert (kept / "claims" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("changed", ["settings", "claims"])
def test_outdated_verdicts_are_not_kept(kept, changed):
    path = kept / "claims" / "verdicts.json"
    record = json.loads(path.read_text())
    (record if changed == "claims" else record["studies"]["aliased"])[changed] = "of another"
    path.write_text(json.dumps(record))
    first = "permuted_cells" if changed == "claims" else "aliased"
    with pytest.raises(InputError, match=rf"run `make study STUDY={first}` first"):
        settle_claims(results=kept)


@pytest.mark.parametrize("name", ["budgets.csv", "head_room.csv"])
def test_edited_verdicts_are_not_kept(kept, name):
    path = kept / "claims" / name
    path.write_text(path.read_text().replace("full", "fcsa", 1))
    with pytest.raises(InputError, match=rf"{name}: not the file that verdicts.json names; restore it"):
        settle_claims(results=kept)


def test_a_study_that_is_not_finished_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"permuted_cells/tables/claims.csv: .*; run `make study STUDY=permuted_cells`"
    ):
        settle_claims(results=tmp_path)


def test_a_table_of_other_claims_is_refused(results, tmp_path):
    for study in read_studies():
        write_claims_study(tmp_path / study, budgets=())
    path = tmp_path / "filtered" / "tables" / "claims.csv"
    table = pd.read_csv(path)
    table[table["claim"] != "locality"].to_csv(path, index=False)
    with pytest.raises(InputError, match=r"claims.csv: tests other claims than claims.yaml now names; run"):
        settle_claims(results=tmp_path)


def test_a_readme_without_the_block_is_refused(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("No block.\n")
    with pytest.raises(InputError, match=r"README.md: lacks the lines .* add them"):
        settle_claims(results=results, readme=readme)
    assert readme.read_text() == "No block.\n"
