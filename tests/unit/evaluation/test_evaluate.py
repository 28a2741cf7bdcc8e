"""Evaluation of a small data set, from manifest to rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from models import build_model
from models.baselines import ANCHOR
from vsrbench.core.config import load_variant, read_yaml, resolve_variant
from vsrbench.core.errors import InputError
from vsrbench.core.metric_table import INFINITE, METRICS
from vsrbench.data.clips import read_frame, write_frame
from vsrbench.data.datasets import load_clips
from vsrbench.data.verification import verify
from vsrbench.evaluation import scorer
from vsrbench.evaluation.evaluate import COLUMNS, _enlarge, evaluate
from vsrbench.evaluation.inference import restore_clip, to_frame
from vsrbench.evaluation.metrics import PSNR_SSIM, lpips, psnr_ssim
from vsrbench.evaluation.scorer import Borders, Scorer
from vsrbench.results.study_results import read_rows

TINY = Path(__file__).parents[2] / "workflow" / "tiny.yaml"
HEIGHT, WIDTH, FRAMES = 64, 80, 4


def scene(seed: int) -> np.ndarray:
    """A smooth picture that slides by two pixels a frame."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(0, 255, (1, 3, 10, 14)))
    picture = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH + 2 * FRAMES), mode="bicubic")
    picture = picture[0].clamp(0, 255).movedim(0, -1).byte().numpy()
    return np.stack([picture[:, 2 * t : 2 * t + WIDTH] for t in range(FRAMES)])


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Two clips in folders; their low-quality frames are made as they are read."""
    for seed, clip in enumerate(("first", "second")):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for t, frame in enumerate(scene(seed)):
            write_frame(tmp_path / "clips" / clip / f"{t:08d}.png", frame)
    verify("folder", tmp_path / "clips", "BI", tmp_path / "manifest.json")
    return tmp_path / "manifest.json"


def run(manifest: Path, **options) -> pd.DataFrame:
    folder = manifest.parent
    defaults = dict(
        study="tiny", variant="bicubic", seed=0, rows=folder / "seed_0.csv", frames=folder / "seed_0"
    )
    evaluate(manifest=manifest, **defaults | options)
    return read_rows(folder / "seed_0.csv")


@pytest.fixture
def network(tmp_path):
    """A tiny variant's resolved configuration and weights, and the model itself."""

    def make(name: str = "full"):
        variant = resolve_variant(read_yaml(TINY), name)
        torch.manual_seed(1)
        model = build_model(variant.model).eval()
        (tmp_path / "variant.yaml").write_text(yaml.safe_dump(variant.to_dict()))
        save_file(model.state_dict(), tmp_path / "weights.safetensors")
        return dict(config=tmp_path / "variant.yaml", weights=tmp_path / "weights.safetensors"), model

    return make


@pytest.fixture
def no_lpips(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


def test_bicubic_has_a_row_for_every_frame(manifest, no_lpips):
    rows = run(manifest, lpips_weights=manifest.parent)
    assert tuple(rows.columns) == COLUMNS
    assert rows[["clip", "frame"]].values.tolist() == [
        [c, t] for c in ("first", "second") for t in range(FRAMES)
    ]
    assert set(rows["variant"]) == {"bicubic"} and set(rows["trained_on"]) == {""}
    assert rows[["lpips_alex", "lpips_squeeze", "tlp"]].isna().all(axis=None)
    # Motion takes the frame before, which the first one of a clip lacks.
    assert (
        rows.groupby("clip")["tof"].apply(lambda column: column.isna().tolist()).tolist()
        == [[True] + [False] * (FRAMES - 1)] * 2
    )
    assert (rows["psnr_rgb"] > 25).all() and (rows["ssim_y"] < 1).all()


def test_scores_are_those_of_the_restored_frames(manifest, network):
    files, model = network()
    rows = run(manifest, variant="full", seed=1, metrics=["psnr_rgb", "ssim_y"], **files)
    clip = load_clips(manifest, "test")[1]
    lq, gt = clip.read()
    restored = np.stack([to_frame(image) for image in restore_clip(model, lq)])
    expected = psnr_ssim(restored, gt)
    of_clip = rows[rows["clip"] == "second"]
    np.testing.assert_allclose(of_clip["psnr_rgb"], expected["psnr_rgb"], atol=1e-4)
    np.testing.assert_allclose(of_clip["ssim_y"], expected["ssim_y"], atol=1e-5)
    assert rows["psnr_y"].isna().all()  # not asked for
    assert set(rows["trained_on"]) == {"BI"} and set(rows["num_frames"]) == {3}
    kept = manifest.parent / "seed_0"
    assert sorted(path.name for path in kept.iterdir()) == [
        "first_00000002.png",
        "rows",
        "second_00000002.png",
    ]
    np.testing.assert_array_equal(read_frame(kept / "second_00000002.png"), restored[2])
    np.testing.assert_array_equal(read_frame(kept / "rows" / "second.png"), restored[:, HEIGHT // 2])


def test_seams_are_looked_for_where_patches_and_tiles_meet(manifest, network, monkeypatch):
    """At the network's patches and tiles; a baseline has the published patches and no tiles."""
    asked = []
    monkeypatch.setattr(scorer, "seam", lambda x, y, **borders: asked.append(borders) or np.zeros(len(x)))
    files, _ = network()
    rows = run(manifest, variant="full", metrics=["patch_seam", "tile_seam"], **files)
    assert rows["patch_seam"].eq(0).all() and rows["tile_seam"].eq(0).all()
    variant = load_variant(files["config"]).model
    tile, patch = variant.feat_size, 4 * variant.patch_size
    starts = {
        size: [*range(tile // 2, size // 4 - tile, tile // 2), size // 4 - tile] for size in (HEIGHT, WIDTH)
    }
    cut = {size: [4 * (start + tile // 4) for start in starts[size] if start > 0] for size in starts}
    between = {
        size: [border for border in range(patch, size, patch) if border not in cut[size]] for size in cut
    }
    assert 0 < len(between[WIDTH]) < len(range(patch, WIDTH, patch))
    assert asked[0] == {"rows": between[HEIGHT], "columns": between[WIDTH]}
    assert asked[1] == {"rows": cut[HEIGHT], "columns": cut[WIDTH]}
    asked.clear()
    run(manifest, metrics=["patch_seam", "tile_seam"])
    assert asked[0]["rows"] == [*range(32, HEIGHT, 32)] and asked[1] == {"rows": [], "columns": []}


def test_whole_clips_are_scored_and_said(manifest, network, tmp_path):
    study = read_yaml(TINY) | {"networks": {"basicvsr": {"num_feat": 8, "num_blocks": 1}}}
    variant = resolve_variant(study, "basicvsr")
    torch.manual_seed(1)
    model = build_model(variant.model).eval()
    (tmp_path / "variant.yaml").write_text(yaml.safe_dump(variant.to_dict()))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    files = dict(config=tmp_path / "variant.yaml", weights=tmp_path / "weights.safetensors")
    rows = run(manifest, variant="basicvsr", seed=1, metrics=["psnr_rgb"], **files)
    assert set(rows["mode"]) == {"whole_clip"} and set(rows["tile_overlap"]) == {""}
    lq, gt = load_clips(manifest, "test")[0].read()
    with torch.no_grad():
        restored = model(torch.from_numpy(lq).permute(0, 3, 1, 2)[None].float() / 255)[0]
    expected = psnr_ssim(
        torch.stack([torch.from_numpy(to_frame(image)) for image in restored]), torch.from_numpy(gt)
    )
    assert rows["psnr_rgb"][: len(gt)].tolist() == pytest.approx(expected["psnr_rgb"], abs=1e-3)


def test_lpips_and_motion_of_lpips(manifest, lpips_weights):
    rows = run(manifest, lpips_weights=lpips_weights)
    clip = load_clips(manifest, "test")[0]
    lq, gt = clip.read()
    restored = np.stack(list(_enlarge(ANCHOR, torch.device("cpu"))(clip)))
    alex = lpips(restored, gt, net="alex", weights=lpips_weights)
    np.testing.assert_allclose(rows["lpips_alex"][:FRAMES], alex, atol=2e-6)
    changes = [lpips(frames[1:], frames[:-1], weights=lpips_weights) for frames in (restored, gt)]
    np.testing.assert_allclose(rows["tlp"][1:FRAMES], 100 * abs(changes[0] - changes[1]), atol=1e-4)
    assert rows["lpips_squeeze"].notna().all()


def test_the_table_of_metrics_says_which_need_a_previous_frame(manifest, lpips_weights):
    rows = run(manifest, lpips_weights=lpips_weights)[list(METRICS)].drop(columns="tile_seam")  # no tiles
    motion = [name for name, metric in METRICS.items() if metric.needs_previous_frame]
    assert list(rows.columns[rows.iloc[0].isna()]) == motion == ["tof", "tlp"]
    assert rows.iloc[1:FRAMES].notna().all(axis=None)


def test_the_table_of_metrics_says_which_direction_is_better(manifest, lpips_weights):
    clip = load_clips(manifest, "test")[0]
    gt, random = clip.read_gt(clip.scored), np.random.default_rng(0)
    squares = (np.indices((HEIGHT, WIDTH)) // 16).sum(axis=0)[
        ..., None
    ] % 2  # with borders at tiles and patches
    near, far = (
        pd.DataFrame(
            Scorer(METRICS, lpips_weights, borders=Borders(32, 8, 0)).score(
                clip, noisy.clip(0, 255).astype(np.uint8)
            )
        ).mean()
        for noisy in (gt + sigma * squares + random.normal(0, sigma, gt.shape) for sigma in (4, 40))
    )
    assert {name: near[name] > far[name] for name in METRICS} == {
        name: metric.higher_is_better for name, metric in METRICS.items()
    }


def test_exact_frames_have_infinite_psnr(tmp_path):
    (tmp_path / "clips" / "flat").mkdir(parents=True)
    for t in range(3):
        write_frame(tmp_path / "clips" / "flat" / f"{t}.png", np.full((32, 32, 3), 40 * t, np.uint8))
    verify("folder", tmp_path / "clips", "BI", tmp_path / "manifest.json")
    rows = run(tmp_path / "manifest.json", metrics=PSNR_SSIM)[list(METRICS)]
    assert tuple(rows.columns[np.isposinf(rows).all()]) == INFINITE == ("psnr_rgb", "psnr_y")


def test_motion_only_between_neighbours(manifest):
    clip = replace(load_clips(manifest, "test")[0], scored=(0, 2, 3))
    restored = clip.read_gt(clip.scored)
    rows = list(Scorer(["tof"]).score(clip, restored))
    assert [np.isnan(row["tof"]) for row in rows] == [True, True, False]
    assert rows[2]["tof"] == 0


def test_weights_of_another_network_are_refused(manifest, network):
    files, _ = network()
    save_file({"nothing": torch.zeros(1)}, files["weights"])
    with pytest.raises(InputError, match=r"^[^\n]*weights.safetensors: not the weights of full[^\n]*$"):
        run(manifest, variant="full", **files)
    assert not (manifest.parent / "seed_0.csv").exists()


def test_a_clip_shorter_than_the_window_is_named(tmp_path, network):
    (tmp_path / "clips" / "short").mkdir(parents=True)
    for t, frame in enumerate(scene(0)[:2]):
        write_frame(tmp_path / "clips" / "short" / f"{t}.png", frame)
    verify("folder", tmp_path / "clips", "BI", tmp_path / "manifest.json")
    files, _ = network()
    with pytest.raises(InputError, match="clips/short: full cannot restore it: .*2 frames"):
        run(tmp_path / "manifest.json", variant="full", **files)


def test_frames_of_a_degradation_that_was_not_asked_for_are_refused(manifest):
    with pytest.raises(InputError, match="expected degradation BD, got BI; use other data"):
        run(manifest, degradation="BD")
    assert not (manifest.parent / "seed_0.csv").exists()


def test_unknown_metric_is_refused(manifest):
    with pytest.raises(InputError, match="unknown metric 'vmaf'; expected one of psnr_rgb,"):
        run(manifest, metrics=["psnr_rgb", "vmaf"])


def test_an_interrupted_evaluation_leaves_no_rows(manifest, monkeypatch):
    def fail(table, path, **options):
        Path(path).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(KeyboardInterrupt):
        run(manifest, metrics=["psnr_rgb"])
    assert not list(manifest.parent.glob("*.csv")) and not list(manifest.parent.glob(".*.csv"))
