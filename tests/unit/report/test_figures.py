"""Figures of a made-up study with a few real pictures."""

import json
import shutil
from dataclasses import replace

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from safetensors.torch import save_file
from synthetic import BASELINE, write_study
from tiny_training import MODEL, write_variant
from workflow_copy import ROOT

from models import ModelConfig, build_model
from vsrbench.data.datasets import load_clips
from vsrbench.data.degradation import SCALE
from vsrbench.data.photo_motion import generate
from vsrbench.evaluation.inspect_network import inspect
from vsrbench.evaluation.saved_frames import save_sample_frames
from vsrbench.orchestration.study import load_study
from vsrbench.report.example_selection import find_crop, find_example
from vsrbench.report.figure_list import figures_of, inspected_variants
from vsrbench.report.figures import (
    _by_dataset,
    _draw_cost,
    draw_clips,
    draw_training,
    make_figures,
    pareto_front,
)
from vsrbench.report.frame_figures import draw_profiles, worst_stretch
from vsrbench.report.network_figures import draw_attention, draw_flow
from vsrbench.report.plot_style import _STYLE, FULL, VARIANT, _spread
from vsrbench.results.study_results import StudyFiles, read_results

FIGURES = (
    "costs",
    "training",
    "differences",
    "clips",
    "comparison",
    "errors",
    "profiles",
    "flow",
    "attention",
)
EFFECTS = {"full": (0, 0.15), "fcsa": (-0.7, 0.4), "channel_norm": (-0.1, 0.14), BASELINE: (-1.2, None)}
NOISE = {"full": 5, "fcsa": 20, "channel_norm": 10, BASELINE: 40}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The files of a study of three small clips, with what is kept of each restored one."""
    folder = tmp_path_factory.mktemp("results") / "demo"
    data = folder / "data" / "photo_motion"
    counts = {"train": 0, "validation": 0, "test": 1}
    generate(data, seed=1, degradation="BI", clips_per_photo=counts, num_frames=3, size=64)
    manifest = (data / "manifest.json").read_text()
    clips = load_clips(data / "manifest.json", "test")
    lengths = {"photo_motion": {clip.name: clip.num_frames for clip in clips}}
    files = write_study(folder, effects=EFFECTS, clips=lengths)
    (data / "manifest.json").write_text(manifest)
    random = np.random.default_rng(0)
    for evaluation in files.evaluations:
        for clip in clips:
            gt = clip.read_gt(clip.scored)
            noisy = gt + random.normal(0, NOISE[evaluation.parent.name], gt.shape)
            restored = iter(noisy.clip(0, 255).astype(np.uint8))
            assert len(list(save_sample_frames(restored, clip, evaluation.with_suffix("")))) == 3
    inspections = [inspect_clip(folder, data / "manifest.json", variant) for variant in ("full", "fcsa")]
    shutil.rmtree(folder / "lineage")  # the rest of the study was made up
    return replace(files, inspections=tuple(inspections))


def inspect_clip(folder, manifest, variant):
    """The inspection of a tiny network that was not trained."""
    model = {"attention": {"full": "stcsa", "fcsa": "fcsa"}[variant], "feed_forward": "flow_aligned"}
    weights = folder / "weights.safetensors"
    out = folder / "inspections" / "photo_motion" / variant / "seed_1.safetensors"
    save_file(build_model(ModelConfig(**MODEL | model)).state_dict(), weights)
    config = write_variant(folder / "variant.yaml", model=model)
    inspect(config=config, weights=weights, manifest=manifest, out=out)
    return out


@pytest.fixture(scope="module")
def results(study):
    return read_results(study)


def test_every_figure_is_drawn_twice_the_same(study, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    make_figures(study, first)
    make_figures(study, second)
    for name in FIGURES:
        drawn = cv2.imread(str(first / f"{name}.png"))
        assert min(drawn.shape[:2]) > 100 and drawn.std() > 10, f"{name} is blank"
        svg = (first / f"{name}.svg").read_bytes()
        assert svg.startswith(b"<?xml") and len(svg) > 10_000
        assert svg == (second / f"{name}.svg").read_bytes()


def test_example_is_the_median_clip_and_the_weakest_variant(study, results):
    frames = {tuple(path.parts[-3:-1]): path.with_suffix("") for path in study.evaluations}
    example = find_example(results, study.manifests[0], frames)
    rows = results.rows.query("frame == 1 and seed <= 1").set_index(["clip", "variant"])["psnr_rgb"].unstack()
    median = (rows["full"] - rows[BASELINE]).sort_values().index[1]
    assert example.label == f"photo_motion\n{median}" and example.frame == 1
    assert list(example.restored) == [BASELINE, "fcsa", "full"]
    assert example.psnr["full"] == pytest.approx(rows.loc[median, "full"])
    assert example.gt.shape == (64, 64, 3) and example.lq.shape == (16, 16, 3)


def test_crop_is_where_the_error_is():
    gt = np.zeros((128, 192, 3), np.uint8)
    restored = gt.copy()
    restored[40:56, 150:166] = 200
    top, left, edge = find_crop(restored, gt)
    assert edge == 32 and top % SCALE == left % SCALE == 0
    assert top <= 40 <= top + edge - 16 and left <= 150 <= left + edge - 16


def test_crop_stays_inside_where_the_error_is_in_a_corner():
    gt = np.zeros((128, 192, 3), np.uint8)
    restored = gt.copy()
    restored[-4:, -4:] = 200
    top, left, edge = find_crop(restored, gt)
    assert top + edge <= 128 and left + edge <= 192
    assert top + edge > 124 and left + edge > 188


def test_disturbed_time_has_an_empty_face_and_no_part_in_the_front():
    scores = pd.DataFrame(
        {"latency_ms": [1.0, 2.0], "latency_ms_q25": [0.9, 1.9], "latency_ms_q75": [1.1, 2.1]}
        | {
            "parameters_m": [1.0, 2.0],
            "psnr_y": [30.0, 29.0],
            "psnr_y_spread": 0.1,
            "disturbed": ["a", None],
        },
        index=["fcsa", "full"],
    )
    for cost, faces, front in (
        ("latency_ms", ["white", FULL], [2.0]),
        ("parameters_m", [VARIANT, FULL], [1]),
    ):
        axes = Figure().subplots()
        _draw_cost(axes, scores, "psnr_y", cost)
        lines = {line.get_label(): line for line in axes.lines}
        points = [line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() in "os"]
        assert [point.get_markerfacecolor() for point in points] == faces
        assert list(lines["Pareto front"].get_xdata()) == front
        assert ("disturbed: do not compare" in lines) == (cost == "latency_ms")


def test_pareto_front():
    cost, score = pd.Series([3.0, 1.0, 2.0, 1.0, 4.0]), pd.Series([5.0, 2.0, 1.0, 3.0, 5.0])
    front = pareto_front(cost, score)
    np.testing.assert_array_equal(front, [[1, 3], [3, 5]])


def test_labels_keep_their_distance():
    spread = _spread(np.array([0.1, 0.5, 0.5, 0.5, 0.99]), gap=0.1)
    assert (np.diff(spread) >= 0.1 - 1e-9).all() and spread[0] >= 0 and spread[-1] <= 1
    np.testing.assert_allclose(_spread(np.array([0.1, 0.5]), gap=0.1), [0.1, 0.5])


def test_a_training_that_was_skipped_over_is_drawn_with_what_it_has(tmp_path):
    losses = {("full", 1): [0.3, None, 0.1], ("full", 2): [0.3, 0.2, 0.1], ("fcsa", 1): [None] * 3}
    logs = {run: tmp_path / f"{run[0]}_{run[1]}.jsonl" for run in losses}
    for run, values in losses.items():
        lines = [{"iteration": t, "learning_rate": 1, "loss": loss} for t, loss in enumerate(values)]
        logs[run].write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_training(logs, tmp_path / "training")
    assert (tmp_path / "training.svg").is_file()


def test_thousands_of_clips_can_be_drawn(results, tmp_path):
    clips = {f"clip{number:04d}": 1 for number in range(500)}
    files = write_study(tmp_path / "demo", effects=EFFECTS, clips={"vid4": clips})
    draw_clips(read_results(files), tmp_path / "clips")
    assert (tmp_path / "clips.svg").stat().st_size < 100_000


@pytest.mark.parametrize("span", [0.0005, 0.0015, 0.007, 0.016, 0.5, 3])
def test_numbers_below_the_differences_keep_apart(tmp_path, span):
    names = ["positional_encoding_as_described"]
    with mpl.rc_context(_STYLE):  # which decides on the ticks whenever they are asked for
        with _by_dataset(tmp_path / "clips", ["photo_motion", "vid4"], names) as panels:
            for share, axes in zip((0.3, 0.9), panels, strict=True):
                axes.plot([-share * span, (1 - share) * span], [0, 0])
        panels[0].figure.draw_without_rendering()  # at the resolution in which the boxes are given
        for axes in panels:
            low, high = axes.get_xlim()
            labels = [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]
            boxes = [text.get_window_extent() for text in labels]
            assert len(boxes) >= 2
            space = boxes[0].height / 2
            assert all(right.x0 - left.x1 > space for left, right in zip(boxes, boxes[1:], strict=False))


def test_a_study_of_the_full_model_alone(study, tmp_path):
    alone = {
        key: [path for path in paths if {"fcsa", "channel_norm"}.isdisjoint({*path.parts, path.stem})]
        for key, paths in vars(study).items()
    }
    make_figures(StudyFiles.from_inputs(alone), tmp_path)
    assert all((tmp_path / f"{name}.png").is_file() for name in FIGURES)


def test_no_restored_frames_no_pictures(study, results, tmp_path):
    assert find_example(results, study.manifests[0], {}) is None
    for evaluation in study.evaluations:
        assert evaluation.with_suffix("").is_dir()


def test_the_stretch_of_a_row_is_where_the_error_is():
    truth = np.zeros((3, 100, 3), np.uint8)
    profile = truth.copy()
    profile[1, 60:66] = 200
    start, stop = worst_stretch(profile, truth, 16)
    assert stop - start == 16 and start <= 60 and stop >= 66


def test_what_is_not_there_leaves_a_line_and_no_gap(tmp_path):
    for draw in (draw_profiles, draw_flow, draw_attention):
        draw([], tmp_path / "empty")
        assert cv2.imread(str(tmp_path / "empty.png")).shape[0] < 100


def settings(variants, **model):
    """A study of the workflow's tests, as it is checked."""
    tiny = yaml.safe_load((ROOT / "tests" / "workflow" / "tiny.yaml").read_text()) | {"variants": variants}
    tiny["overrides"]["model"] |= model
    return load_study(tiny).variants


def test_a_study_has_the_figures_that_it_can_show():
    variants = settings(["fcsa_token_wise", "no_attention", "full", "fcsa"])
    assert set(figures_of(variants)) == set(FIGURES)
    assert inspected_variants(variants) == ["full", "fcsa_token_wise"]
    assert set(FIGURES) - set(figures_of(settings(["full"], flow="oracle"))) == {"flow"}
    blind = settings(["full"], attention="none")
    assert set(FIGURES) - set(figures_of(blind)) == {"attention"}
    assert inspected_variants(blind) == ["full"]
