"""Tables from a made-up study: every number traceable, every doubt said."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic import EFFECTS, write_study

from vsrbench.core.config import ABLATIONS, read_yaml
from vsrbench.core.errors import InputError
from vsrbench.report.compare_studies import compare
from vsrbench.report.explain import explain
from vsrbench.report.published_scores import compare_with_published
from vsrbench.report.tables import make_tables, tidy_table
from vsrbench.results.study_results import StudyFiles, read_results

FEW = {name: EFFECTS[name] for name in ("full", "fcsa", "channel_norm", "unaligned_ffn", "bicubic")}
VID4 = {"vid4": {"calendar": 4, "city": 3, "foliage": 5, "walk": 5}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "demo"
    write_tables(write_study(folder), folder, note="A note.")
    return folder


def write_tables(files, folder, note=""):
    """The tables of a study in `folder`, compared with its own list of published scores."""
    make_tables(files, folder / "tables", title="Demo", note=note, published=folder / "published.csv")


def page(folder, name="ablations.txt"):
    return (folder / "tables" / name).read_text()


def tables_of(folder, edit=None, **options):
    """The plain text of a study's tables; `edit` changes every row of its evaluations before."""
    files = write_study(folder, **options)
    for path in files.evaluations if edit else ():
        rows = pd.read_csv(path, dtype={"code_digest": str})
        edit(rows)
        rows.to_csv(path, index=False)
    write_tables(files, folder)
    return page(folder)


def test_every_variant_has_a_row_without_gaps(study):
    wide = pd.read_csv(study / "tables" / "ablations.csv")
    assert set(wide["variant"]) == set(EFFECTS)
    assert len(wide) == 2 * len(EFFECTS)
    networks = wide[wide["variant"] != "bicubic"]
    columns = ["psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y", "lpips_alex", "parameters_m", "gflops_per_frame"]
    assert networks[[*columns, "latency_ms", "peak_memory_gib", "psnr_rgb_spread"]].notna().all(axis=None)
    assert wide.groupby("dataset", sort=False)["variant"].last().eq("bicubic").all()
    assert wide.groupby("dataset", sort=False)["variant"].first().eq("full").all()


def test_numbers_are_those_of_the_rows(study):
    wide = pd.read_csv(study / "tables" / "ablations.csv").set_index(["dataset", "variant"])
    row = wide.loc[("photo_motion", "fcsa")]
    frames = pd.concat(pd.read_csv(study / path) for path in row["evaluations"].split())
    means = frames.groupby(["seed", "clip"])["psnr_rgb"].mean().groupby("seed").mean()
    assert row["psnr_rgb"] == pytest.approx(means.mean())
    assert row["psnr_rgb_spread"] == pytest.approx(means.std())
    assert row["psnr_rgb_difference"] == pytest.approx(
        row["psnr_rgb"] - wide.loc[("photo_motion", "full"), "psnr_rgb"]
    )
    assert row["runs"] == "runs/fcsa/seed_1 runs/fcsa/seed_2 runs/fcsa/seed_3"
    assert all((study / run / "provenance.json").is_file() for run in row["runs"].split())


def test_tidy_table_has_the_tests(study):
    tidy = pd.read_csv(study / "tables" / "ablations_tidy.csv").set_index(["dataset", "variant", "metric"])
    fcsa = tidy.loc[("photo_motion", "fcsa", "psnr_rgb")]
    assert fcsa["low"] < fcsa["difference"] < fcsa["high"] < 0
    assert fcsa["verdict"] == "worse"
    assert fcsa["p"] <= fcsa["p_holm"] < 0.05
    assert fcsa["high_any_clip"] - fcsa["low_any_clip"] > fcsa["high"] - fcsa["low"]
    assert np.isnan(tidy.loc[("photo_motion", "full", "psnr_rgb"), "p"])


def test_terminal_table_fits_and_marks(study):
    text = page(study)
    assert max(map(len, text.splitlines())) <= 140
    lines = {line.split()[0]: line for line in reversed(text.splitlines()) if line and line[0].islower()}
    assert "? " in lines["positional_encoding_as_described"]
    assert "? " not in lines["fcsa"] and "≈ " not in lines["fcsa"]
    assert "25.94±0.02=" in lines["positional_encoding_as_described"], "tied for best"
    assert "vid4: a subset, 1 of 4 clips (city)" in text
    assert "fcsa 2.68" in text
    assert "[a]" in lines["fcsa"] and "[a]" not in lines["channel_norm"]
    assert "Smaller than the published study" in text


def test_markdown_shows_best_and_effects(study):
    markdown = page(study, "ablations.md")
    assert "| Fully connected self-attention `fcsa`" in markdown
    assert "**" in markdown and "## Main effects and interactions" in markdown
    assert "attention: fcsa x feed_forward: token_wise" in markdown
    for table in markdown.split("###")[1:]:
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


def test_latex_compiles(study, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (tmp_path / "ablations.tex").write_text(page(study, "ablations.tex"))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}"
        "\\begin{document}\\input{ablations.tex}Table~\\ref{tab:ablations}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_is_plain(study):
    """Whatever is not on every keyboard, or means something to LaTeX, is written as a command."""
    latex = page(study, "ablations.tex")
    assert latex.isascii()
    assert "no\\_positional\\_encoding" in latex
    assert latex.count("\\begin{") == latex.count("\\end{")


def test_one_seed_has_no_interval(tmp_path):
    text = tables_of(tmp_path / "demo", seeds=(1,), effects=FEW)
    assert "Fewer than 3 seeds" in text
    assert "±0" not in text and "*" not in text and "?" not in text
    assert "paired by seed" not in text
    assert "[−" not in text


def test_two_seeds_give_no_verdict(tmp_path):
    files = write_study(tmp_path / "two", seeds=(1, 2), effects=FEW)
    write_tables(files, tmp_path / "two")
    tidy = pd.read_csv(tmp_path / "two" / "tables" / "ablations_tidy.csv")
    assert tidy["difference"].notna().any() and tidy["spread"].notna().any()
    assert tidy[["low", "p", "p_holm", "verdict"]].isna().all(axis=None)
    assert "Fewer than 3 seeds" in page(tmp_path / "two")


def test_equivalent_and_open_are_told_apart(tmp_path):
    """The margin decides: the same study, once with a wide and once with a narrow one."""
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1), "channel_norm": (0, 0.1)})
    for margin, mark in ((9.0, "≈ "), (0.0001, "? ")):
        make_tables(files, tmp_path / "demo" / "tables", title="Demo", note="", margin=margin)
        row = next(line for line in page(tmp_path / "demo").splitlines() if line.startswith("channel_norm"))
        assert mark in row
    assert "Seeds that would settle what is open" in page(tmp_path / "demo")


def test_unstable_training_is_marked(tmp_path):
    files = write_study(tmp_path / "demo", effects=FEW)
    for path in files.evaluations:
        if path.parent.name == "fcsa":
            rows = pd.read_csv(path)
            rows["psnr_rgb"] += {"seed_1": 0.5, "seed_2": -0.5}.get(path.stem, 0)
            rows.to_csv(path, index=False)
    write_tables(files, tmp_path / "demo")
    text = page(tmp_path / "demo")
    letter = text.split("] Unstable training")[0][-1]
    lines = [line for line in text.splitlines() if line.startswith(("fcsa ", "channel_norm "))]
    marked = [letter in line.partition("[")[2].partition("]")[0] for line in lines]
    assert marked == [True, False, False, False], "on photo_motion alone, since on vid4 the score is PSNR Y"


def test_budgets_are_compared_each_with_its_own_full_model(tmp_path):
    effects = {"full": (0.0, 0.15), "fcsa": (-0.3, 0.4), "bicubic": (-1.2, None)}
    files = write_study(tmp_path / "demo", seeds=(1, 2, 3, 4), effects=effects, budgets=[250, 500])
    write_tables(files, tmp_path / "demo")
    budgets = pd.read_csv(tmp_path / "demo" / "tables" / "budgets.csv").query("dataset == 'photo_motion'")
    found = budgets.set_index(["variant", "iterations"])
    assert list(found.loc["fcsa"].index) == [250, 500, 1000] and set(budgets["variant"]) == {"full", "fcsa"}
    differences = found.loc["fcsa", "difference"]
    assert differences[[250, 500]].between(-0.75, -0.45).all() and -0.45 < differences[1000] < -0.15
    rows = pd.concat([pd.read_csv(path) for path in files.evaluations]).query("dataset == 'photo_motion'")
    means = rows.groupby(["variant", "clip"])["psnr_rgb"].mean().groupby("variant").mean()
    assert differences[250] == pytest.approx(means["fcsa_at_250"] - means["full_at_250"])
    assert (found["device_hours"] == 0.02).all()
    ablations = pd.read_csv(tmp_path / "demo" / "tables" / "ablations.csv")
    assert set(ablations["variant"]) == set(effects)  # of the study's own budget only
    text = page(tmp_path / "demo", "ablations.md")
    assert "Differences from full by training budget" in text and "250 it." in text


def test_excluded_clip_is_left_out_with_its_reason(tmp_path):
    files = write_study(tmp_path / "demo", effects={"full": (0.0, 0.15), "fcsa": (-0.3, 0.4)})
    without = [{"dataset": "photo_motion", "clip": "rocket_1", "reason": "Its sky is black"}]
    make_tables(files, tmp_path / "tables", title="Demo", note="", exclude=without)
    assert "photo_motion: rocket_1 is left out: Its sky is black." in page(tmp_path)
    rows = pd.concat([pd.read_csv(path) for path in files.evaluations])
    kept = rows[(rows["dataset"] == "photo_motion") & (rows["clip"] != "rocket_1")]
    expected = kept.groupby(["variant", "clip"])["psnr_rgb"].mean().groupby("variant").mean()
    wide = pd.read_csv(tmp_path / "tables" / "ablations.csv").query("dataset == 'photo_motion'")
    assert dict(zip(wide["variant"], wide["psnr_rgb"], strict=True)) == pytest.approx(dict(expected))
    assert set(wide["clips"]) == {3}


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        (["rocket_9"], "photo_motion: unknown clip 'rocket_9'; expected one of chelsea_0, .*rocket_1$"),
        (["chelsea_0", "chelsea_1", "rocket_0", "rocket_1"], "no clip of photo_motion is left"),
    ],
)
def test_exclusions_that_cannot_be_are_refused(tmp_path, clips, said):
    files = write_study(tmp_path / "demo", effects={"full": (0.0, 0.15)})
    exclude = [{"dataset": "photo_motion", "clip": clip, "reason": "it is odd"} for clip in clips]
    with pytest.raises(InputError, match=f"exclude: {said}"):
        read_results(files, exclude=exclude)


def test_tuning_is_told_with_the_edges(tmp_path):
    effects = {"full": (0.0, 0.15), "fcsa": (-0.3, 0.4)}
    files = write_study(tmp_path / "demo", effects=effects)
    tuning = []
    for name, rate in (("full", 0.002), ("fcsa", 0.004)):
        path = tmp_path / "demo" / "tuning" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        trainings = [{"learning_rate": r, "seed": 9, "score": 20} for r in (0.0005, 0.001, 0.002, 0.004)]
        path.write_text(json.dumps({"learning_rate": rate, "on_edge": rate == 0.004, "trainings": trainings}))
        tuning.append(path)
    write_tables(replace(files, tuning=tuple(tuning)), tmp_path / "demo")
    text = " ".join(page(tmp_path / "demo").split())
    assert "of 0.0005, 0.001, 0.002, 0.004, with the best" in text and "full 0.002, fcsa 0.004" in text
    remark = next(line for line in page(tmp_path / "demo").splitlines() if "on the edge of the grid" in line)
    letter = remark.split()[0].strip("()[].")
    marked = [line for line in page(tmp_path / "demo").splitlines() if line.startswith(("Fully", "fcsa"))]
    assert marked and all(letter in line for line in marked)


def test_the_full_model_alone(tmp_path):
    text = tables_of(tmp_path / "demo", effects={"full": (0, 0.1), "bicubic": (-1, None)})
    assert "full " in text and "bicubic" in text and "nan" not in text


def test_no_lpips_says_how_to_get_it(tmp_path):
    text = tables_of(tmp_path / "demo", effects=FEW, lpips=False)
    assert "nan" not in text and "n/a" in text and "VSRBENCH_LPIPS_WEIGHTS" in text
    note = " ".join(text.split())
    assert "t.models.alexnet(weights='DEFAULT')" in note and "delete results/demo/evaluations" in note


def test_both_averages_and_exact_frames_are_columns(tmp_path):
    """Every frame alike: calendar, foliage and walk have more of them than city."""
    files = write_study(tmp_path / "demo", effects=FEW, clips=VID4)
    rows = pd.concat(pd.read_csv(path) for path in files.evaluations)
    full = rows[(rows["variant"] == "full") & (rows["frame"] > 0)]  # see exact_frame
    exact_frame(first := pd.read_csv(files.evaluations[3]))
    first.to_csv(files.evaluations[3], index=False)
    write_tables(files, tmp_path / "demo")
    tidy = pd.read_csv(tmp_path / "demo" / "tables" / "ablations_tidy.csv").set_index(["variant", "metric"])
    assert tidy.loc[("full", "psnr_y"), "frame_mean"] == pytest.approx(full["psnr_y"].mean(), abs=1e-6)
    by_clip = full.groupby(["seed", "clip"])["psnr_y"].mean().mean()
    assert tidy.loc[("full", "psnr_y"), "mean"] == pytest.approx(by_clip, abs=1e-6)
    assert tidy.loc[("full", "psnr_y"), "infinite"] == 0
    exact = first[first["variant"] == "fcsa"]["frame"].eq(0).sum()
    assert exact > 0 and tidy.loc[("fcsa", "psnr_y"), "infinite"] == exact


def mix_code(rows):
    rows["code_digest"] = rows["code_digest"].where(rows["variant"] != "fcsa", "ffffffffffff")


def other_degradation(rows):
    rows["trained_on"] = rows["trained_on"].where(rows["variant"] != "fcsa", "BD")


def exact_frame(rows):
    rows.loc[(rows["variant"] == "fcsa") & (rows["frame"] == 0), ["psnr_rgb", "psnr_y"]] = np.inf


def tile_some(rows):
    rows["mode"] = rows["mode"].where(rows["variant"] != "fcsa", "whole_frame")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (mix_code, "Mixed evaluation code (digests): 0123456789ab, ffffffffffff"),
        (other_degradation, "Scored on BI input but trained on BD"),
        (exact_frame, "vid4: 1 of the frames restored exactly by fcsa"),
        (tile_some, "Mixed inference: tiled, whole_frame"),
    ],
)
def test_doubts_are_said(tmp_path, edit, said):
    effects = {"full": (0, 0.1), "fcsa": (-0.5, 0.1), "bicubic": (-1, None)}
    text = tables_of(tmp_path / "demo", edit, effects=effects, clips=VID4 | {"vid4": {"city": 3}})
    assert said in text
    assert "inf" not in text.replace("infinite", "").replace("inference", "")


def test_mixed_machines_and_budgets_are_said(tmp_path):
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1), "fcsa": (-0.5, 0.1)}, clips=VID4)
    for path, key, value in (
        (files.provenance[0], "machine", {"device": "a GPU"}),
        (files.provenance[1], "skipped_iterations", [7]),
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    config = files.configs[1]
    config.write_text(config.read_text().replace("iterations: 1000", "iterations: 200"))
    write_tables(files, tmp_path / "demo")
    text = (tmp_path / "demo" / "tables" / "ablations.txt").read_text()
    assert "Mixed training machine: A processor, a GPU" in text
    assert "Mixed training budget (iterations x batch): 1000 x 1, 200 x 1" in text
    assert "Skipped iterations" in text


def test_exact_flow_is_a_bound_and_not_ranked(tmp_path):
    effects = {"full": (0, 0.1), "oracle_flow": (1, 0.1), "unaligned_ffn": (-0.5, 0.1), "bicubic": (-1, None)}
    text = tables_of(tmp_path / "demo", effects=effects, clips={"photo_motion": {"chelsea_0": 3}})
    assert "a bound, not ranked" in text
    assert "*" not in next(line for line in text.splitlines() if line.startswith("oracle_flow"))


def test_average_over_frames_is_told_where_it_differs(tmp_path):
    effects = {"full": (0, 0.1), "fcsa": (-0.5, 0.1)}
    assert "clips differ in length" in tables_of(tmp_path / "demo", effects=effects, clips=VID4)


def compared_with_published(files, published, subset):
    for path in files.manifests:
        path.write_text(json.dumps({"subset": subset}))
    results = read_results(files)
    return results, compare_with_published(results, published)


def test_published_average_is_held_against_the_whole_data_set(tmp_path):
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1), "bicubic": (-1, None)}, clips=VID4)
    results, table = compared_with_published(files, tmp_path / "demo" / "published.csv", subset={})
    average = table[table["clip"] == "average"].set_index("method")
    measured = tidy_table(results).loc[("vid4", "full", "psnr_y"), "mean"]
    assert set(average.index) == {"VSRT", "Another", "Bicubic"}
    assert average.loc["VSRT", "measured_psnr_db"] == pytest.approx(measured)
    assert average.loc["VSRT", "difference"] == pytest.approx(measured - 27.36)
    assert np.isnan(average.loc["Another", "measured_psnr_db"])


def test_published_average_is_not_held_against_a_part(tmp_path):
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1)}, clips={"vid4": {"city": 3}})
    _, table = compared_with_published(
        files, tmp_path / "demo" / "published.csv", subset={"test": "1 of 4 clips"}
    )
    assert set(table["clip"]) == {"city"}


def published_notes(tmp_path, train_on, sizes, **rows):
    """What is said of a study of these sizes that is compared with Vid4's published scores."""
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1), "bicubic": (-1, None)}, clips=VID4)
    (config,) = files.configs
    variant = yaml.safe_load(config.read_text())
    released = read_yaml(ABLATIONS / "full.yaml")
    for section in ("model", "training"):
        ours = {key: value for key, value in sizes.items() if key in released[section]}
        variant[section] = released[section] | ours
    config.write_text(yaml.safe_dump(variant | {"train_on": train_on}))
    for path in files.evaluations:
        pd.read_csv(path).assign(**{"tile_overlap": 32} | rows).to_csv(path, index=False)
    write_tables(files, tmp_path / "demo")
    return [(tmp_path / "demo" / "tables" / name).read_text() for name in ("ablations.md", "published.md")]


RELEASED_VIMEO = {"num_frames": 7, "depth": 7, "batch_size": 16}


def test_the_released_vimeo_recipe_is_no_smaller_than_itself(tmp_path):
    table, published = published_notes(tmp_path, "vimeo90k", RELEASED_VIMEO)
    assert "Smaller than the published" not in table
    assert "another recipe" not in published


def test_a_network_of_another_recipe_than_the_published_one_is_told_so(tmp_path):
    """Vid4's published scores are of seven frames and Vimeo-90K."""
    table, published = published_notes(tmp_path, "reds", {}, tile_overlap=8, precision="bfloat16")
    assert "Smaller than the published" not in table
    assert "by another recipe than the published one" in published
    said = (
        "Vid4: trained on reds, not vimeo90k; num_frames 5, not 7; depth 5, not 7; batch_size 32, not 16; "
        "8 pixels of overlap, not 32; bfloat16 inference, not float32."
    )
    assert said in published


def test_explain_names_the_runs(study, capsys):
    explain(study / "tables" / "ablations.md", "fcsa:psnr_rgb")
    printed = capsys.readouterr().out
    assert "evaluations/photo_motion/fcsa/seed_1.csv" in printed
    assert "runs/fcsa/seed_2: revision abc" in printed
    assert "/full/" not in printed
    explain(study / "tables" / "ablations.csv", "fcsa:psnr_rgb_difference")
    printed = capsys.readouterr().out
    assert "runs/fcsa/seed_2: revision abc" in printed and "runs/full/seed_2: revision abc" in printed
    explain(study / "tables" / "ablations.csv", "fcsa:latency_ms")
    assert "runtime/fcsa.json" in capsys.readouterr().out


def test_explain_names_the_runs_of_a_table_without_its_study(study, tmp_path, capsys):
    copy = tmp_path / "copied" / "tables" / "ablations.csv"
    copy.parent.mkdir(parents=True)
    pd.read_csv(study / "tables" / "ablations.csv").assign(chain="abcd").to_csv(copy, index=False)
    explain(copy, "fcsa:psnr_rgb")
    printed = capsys.readouterr().out
    assert "chain abcd: the study's records are not here" in printed
    assert "evaluations/photo_motion/fcsa/seed_1.csv\n" in printed and "runs/fcsa/seed_2\n" in printed


@pytest.mark.parametrize(
    ("cell", "fault"), [("swin:psnr_rgb", "no variant 'swin'"), ("fcsa:vmaf", "no column 'vmaf'")]
)
def test_explain_refuses_what_is_not_there(study, cell, fault):
    with pytest.raises(InputError, match=fault):
        explain(study / "tables" / "ablations.csv", cell)


def test_compare_shows_what_changed(study, tmp_path, capsys):
    other = tmp_path / "other"
    effects = {"full": (0.5, 0.3), "fcsa": (-0.5, 0.1), "no_attention": (-1, 0.1), "bicubic": (-1.2, None)}
    files = write_study(other, effects=effects, clips={"vid4": {"city": 34}})
    config = files.configs[0]
    config.write_text(config.read_text().replace("iterations: 1000", "iterations: 600"))
    write_tables(files, other)
    compare(study, other)
    printed = capsys.readouterr().out
    assert "training.iterations: 1000 -> 600 (full)" in printed
    assert "+ vid4: no_attention" in printed
    assert "- photo_motion: " in printed
    assert (
        next(line for line in printed.splitlines() if line.startswith("vid4") and " full " in line).count("+")
        >= 3
    )


def test_disturbed_time_is_marked_and_not_compared(study, tmp_path, capsys):
    other = tmp_path / "other"
    write_tables(write_study(other, effects=EFFECTS, disturbed=["fcsa"]), other)
    wide = pd.read_csv(other / "tables" / "ablations.csv")
    assert set(wide.loc[wide["disturbed"].notna(), "variant"]) == {"fcsa"}
    note = next(line for line in page(other).splitlines() if "Time measured on a disturbed machine" in line)
    letter = note[1]
    marked = [line for line in page(other).splitlines() if re.search(rf"\[\w*,?{letter}\] ", line[:40])]
    assert {line.split()[0] for line in marked} - {f"[{letter}]"} == {"fcsa"}
    assert "disturbed" not in page(study)
    compare(study, other)
    lines = [line for line in capsys.readouterr().out.splitlines() if "disturbed" in line]
    assert [line.split()[1] for line in lines[-2:]] == ["fcsa", "fcsa"]
    explain(other / "tables" / "ablations.csv", "fcsa:latency_ms")
    assert "disturbed: repeats scatter" in capsys.readouterr().out


def test_a_study_does_not_differ_from_itself(study, capsys):
    compare(study, study)
    head, _, *table = capsys.readouterr().out.splitlines()
    assert head == f"{study} -> {study}" and "+0.000" in table[2] and "yes" not in "".join(table)


def test_compare_needs_tables(tmp_path):
    with pytest.raises(InputError, match="name the folder of a finished study"):
        compare(tmp_path, tmp_path)


def test_damaged_files_are_named(tmp_path):
    files = write_study(tmp_path / "demo", effects={"full": (0, 0.1)}, clips={"vid4": {"city": 2}})
    path = files.evaluations[0]
    path.write_text(path.read_text().replace("psnr_y", "psnr_z"))
    with pytest.raises(InputError, match=f"{path}: has no column psnr_y"):
        read_results(StudyFiles((path,), files.configs))
    files.runtimes[0].write_text("{")
    with pytest.raises(InputError, match="full.json: not what the study writes"):
        read_results(replace(files, evaluations=files.evaluations[1:]))
