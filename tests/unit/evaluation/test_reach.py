"""How far networks look: measured on networks whose reach is known, and told from files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny_training import MODEL, write_clips
from torch import nn

from models import ModelConfig, build_model
from vsrbench.core.config import resolve_variant
from vsrbench.core.errors import InputError
from vsrbench.evaluation import reach
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.evaluation.metrics import psnr
from vsrbench.report.explain import explain
from vsrbench.report.reach_summary import compare_reach, reach_table, read_reach


class Known(nn.Module):
    """Enlarges each LQ pixel, plus three times the one that is five to the left in the next frame."""

    def forward(self, clip):
        moved = torch.cat([clip[:, 1:], clip[:, -1:]], dim=1).roll(5, dims=-1)
        return (clip + 3 * moved).repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)


@pytest.fixture
def clip(tmp_path):
    (clip,) = write_clips(tmp_path / "clips", num_clips=1)
    return replace(clip, scored=(0, 1, 2, 3, 4))


def network(**options):
    torch.manual_seed(0)
    return build_model(ModelConfig(**MODEL | options)).eval()


def test_the_receptive_field_is_where_the_pixel_comes_from():
    field = reach.receptive_field(Known(), torch.rand(1, 3, 3, 12, 16))
    expected = torch.zeros(3, 12, 16)
    expected[1, 6, 8], expected[2, 6, 3] = 0.1, 0.9  # energy goes with the square of the weight
    assert torch.allclose(field, expected)
    table = reach.energy_by_distance(field)
    assert np.allclose(table, [[0.1, 0, 0, 0, 0], [0, 0, 0.9, 0, 0]])  # one frame off, 4 to 7 pixels


def test_distances_are_those_of_squares_around_the_middle():
    table = np.array(reach.energy_by_distance(torch.ones(1, 40, 40)))
    inside = [(2 * edge - 1) ** 2 for edge in (2, 4, 8, 16)]  # pixels less than so far away
    assert table.tolist() == [[*np.diff([0, *inside]), 1600 - inside[-1]]]


def test_attention_alike_everywhere_has_the_mean_distance_and_entropy_one(monkeypatch):
    model = network(attention="fcsa", depth=1, feat_size=24, patch_size=8)
    for part in (model.blocks[0].attention.query, model.blocks[0].attention.key):
        nn.init.zeros_(part.weight)
    seen = reach.attended(model, torch.rand(1, 3, 3, 24, 24))
    places = [(t - 1, y - 1, x - 1) for t in range(3) for y in range(3) for x in range(3)]
    assert seen.entropy == pytest.approx(1)
    assert seen.frames == pytest.approx(np.mean([abs(t) for t, _, _ in places]))
    assert seen.pixels == pytest.approx(8 * np.mean([np.hypot(y, x) for _, y, x in places]))
    model.blocks[0].attention.reach = "place"
    confined = reach.attended(model, torch.rand(1, 3, 3, 24, 24))
    assert confined.pixels == 0 and confined.frames == pytest.approx(2 / 3)
    assert confined.entropy == pytest.approx(np.log(3) / np.log(27))


def test_confined_scores_are_those_of_the_confined_network(clip):
    model, options = network(attention="stcsa"), RestoreOptions()
    scores = dict(reach.scores_by_reach(model, [clip], options))
    assert list(scores) == ["trained", "frame", "place", "neighbours"]
    for name, score in scores.items():
        other = network(attention="stcsa", attention_reach="all" if name == "trained" else name)
        lq, gt = clip.read()
        frames = np.stack([to_frame(image) for image in restore_clip(other, lq, options)])
        assert score == pytest.approx(np.mean(psnr(frames, gt)))
    assert scores["trained"] != scores["place"]
    assert list(dict(reach.scores_by_reach(network(attention="none"), [clip], options))) == ["trained"]


def test_from_weights_to_table_figure_and_back(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reach, "load_clips", lambda manifest, split: [clip])
    study = {
        "study": "here",
        "train_on": "photo_motion",
        "degradation": "BI",
        "overrides": {"model": MODEL, "training": {"iterations": 1}},
    }
    files = []
    for name in ("full", "no_attention"):
        variant = resolve_variant(study, name)
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(variant.to_dict()))
        for seed in (1, 2):
            torch.manual_seed(10 + seed)
            weights = tmp_path / "weights.safetensors"
            save_file(build_model(variant.model).state_dict(), weights)
            files.append(tmp_path / "reach" / "noise" / name / f"seed_{seed}.safetensors")
            reach.measure_reach(
                config=config, weights=weights, manifest=tmp_path / "manifest.json", seed=seed, out=files[-1]
            )
    facts, fields = read_reach(files[0])
    assert facts["variant"] == "full" and facts["seed"] == 1
    for field in fields.values():
        assert field.sum() == pytest.approx(1, rel=1e-4) and field.min() >= 0
    assert not np.allclose(fields["trained"], fields["initial"])

    compare_reach(files=files, out=tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "reach.csv").set_index(["variant", "quantity"])
    assert set(table.seeds) == {2}
    assert "attention_px" in table.loc["full"].index and "attention_px" not in table.loc["no_attention"].index
    costs = [read_reach(path)[0] for path in files[:2]]
    expected = [each["psnr_rgb_frame"] - each["psnr_rgb_trained"] for each in costs]
    row = table.loc[("full", "confined_to_frame")]
    assert row["mean"] == pytest.approx(np.mean(expected), rel=1e-4)
    # Student's t with one degree of freedom is 12.706 at 97.5 %.
    assert row["high"] - row["mean"] == pytest.approx(12.706 * abs(np.diff(expected)[0]) / 2, rel=1e-3)
    assert "confined_to_frame" in (tmp_path / "tables" / "reach.txt").read_text()
    assert (tmp_path / "figures" / "reach.png").stat().st_size > 5000

    laid_out = reach_table(pd.read_csv(tmp_path / "tables" / "reach.csv"))
    assert [each.name for each in laid_out.groups["noise"]] == ["full", "no_attention"]
    cells = dict(zip((name for name, _ in laid_out.header), laid_out.groups["noise"][0].cells, strict=True))
    assert cells["confined to frame"].text.startswith(f"{np.mean(expected):.3g} [")

    capsys.readouterr()
    explain(tmp_path / "tables" / "reach.txt", "full:confined_to_frame")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"noise, full: confined_to_frame = {np.mean(expected):.6g} [")
    assert printed[1].strip() == f"reach/noise/full/seed_1.safetensors: {expected[0]:.6g}"
    assert printed[2].strip() == "runs/full/seed_1"  # which is not here
    with pytest.raises(InputError, match="no cell 'no_attention:attention_px'"):
        explain(tmp_path / "tables" / "reach.csv", "no_attention:attention_px")
