"""The forecast of a study's cost: operations against the published count, jobs against what it starts."""

from dataclasses import replace

import pytest
from workflow_copy import ROOT

from vsrbench.core.config import read_yaml, resolve_variant
from vsrbench.orchestration.cost_forecast import _fit, _store_bytes, plan
from vsrbench.orchestration.operation_count import flow_training_cost, tile_operations, training_cost

FORWARD = 1139.87e9  # operations of the released network on a clip of 5 x 64 x 64, shared/reference


@pytest.fixture(scope="module")
def published():
    return resolve_variant(read_yaml(ROOT / "workflow" / "config" / "reds.yaml"), "full")


def with_training(variant, **changes):
    return replace(variant, training=replace(variant.training, **changes))


@pytest.fixture(scope="module")
def cost(published):
    return training_cost(with_training(published, activation_checkpointing=False, precision="float32"))


def test_a_training_step_takes_three_forward_passes(cost):
    # The gradients of weights and of inputs cost a forward pass each; two of twelve flows are not computed.
    assert cost.operations == pytest.approx(3 * FORWARD, rel=0.03)


def test_memory_is_what_the_released_step_was_seen_to_take(cost):
    # 8.2 GB at batch 1, of which some 0.85 GB are the program itself; ours keeps less of the warped copies.
    assert 4e9 < cost.peak_bytes(windows=1) < 8.2e9
    assert cost.peak_bytes(windows=4) > 3.5 * cost.peak_bytes(windows=1)


def test_recomputation_trades_operations_for_memory(published, cost):
    less = training_cost(with_training(published, activation_checkpointing=True, precision="float32"))
    assert less.saved_bytes < 0.5 * cost.saved_bytes
    assert 1.1 * cost.operations < less.operations < 1.34 * cost.operations


def test_bfloat16_halves_what_is_saved(published, cost):
    narrow = training_cost(with_training(published, activation_checkpointing=False, precision="bfloat16"))
    assert 0.45 * cost.saved_bytes < narrow.saved_bytes < 0.65 * cost.saved_bytes
    assert narrow.parameter_bytes == cost.parameter_bytes


def test_a_tile_shares_work_with_the_windows_before(published):
    # The share that the reference gives for a 180 x 320 frame, which also counts its 45 distinct tiles of 50.
    assert tile_operations(published) == pytest.approx(0.66 / (45 / 50) * FORWARD, rel=0.02)


def test_wider_spynet_costs_more():
    narrow, wide = (flow_training_cost(num_feat, crop_size=64) for num_feat in (16, 64))
    assert wide.operations > 8 * narrow.operations


def test_plan_names_every_variant_and_counts_its_jobs(capsys):
    plan(study=ROOT / "tests" / "workflow" / "tiny.yaml", device="cpu")
    printed = capsys.readouterr().out
    jobs = {line.split()[0]: line.split()[-2] for line in printed.splitlines()[1:5]}
    # A training and a score of photo_motion and, but for the oracle, of Vid4 for each of two seeds; a timing.
    assert jobs == {"full": "7", "fcsa": "7", "oracle_flow": "5", "SPyNet": "1"}
    assert next(line for line in printed.splitlines() if line.startswith("in all")).split()[2] == "20"
    assert "Calibration: 3 training steps of the full model" in printed
    assert "Disk: up to 0.0 GiB of checkpoints for each training that runs" in printed


def test_frame_stores_are_as_large_as_forecast():
    """The demo's were measured: 115,344,598 bytes with their index; the others are counted by hand."""
    demo = read_yaml(ROOT / "workflow" / "config" / "demo.yaml")
    assert _store_bytes(demo, "photo_motion") == pytest.approx(115_344_598, rel=0.005)
    assert _store_bytes(demo, "reds") == 270 * 100 * 180 * 320 * 3 * 17
    assert _store_bytes(demo, "vimeo90k") == (64612 + 20) * 7 * 64 * 112 * 3 * 17
    assert _store_bytes(demo, "permuted_cells") == 608 * 3 * 12 * 12 * 3 * 17


def test_plan_says_how_much_of_a_batch_fits(published, cost):
    """On 40 GiB, less a tenth: weights, gradients and moments first, then windows while there is room."""
    room = 0.9 * 40 * 2**30 - cost.peak_bytes(0)
    assert _fit(published, 1, 40, "float32", False).endswith(f": {room // cost.saved_bytes:.0f} of 32")
    assert _fit(published, 8, 40, "float32", True).endswith(": 4 of 4")
    assert _fit(published, 1, 1, "float32", False).endswith(": none")


def test_plan_prints_what_fits_before_it_measures(capsys):
    plan(study=ROOT / "tests" / "workflow" / "tiny.yaml", device="cpu", memory=8)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("the largest micro-batch that fits into 8 GiB")
    assert [line.split()[0] for line in lines[3:6]] == ["full", "fcsa", "oracle_flow"]
    assert all(line.count("2 of 2") == 4 for line in lines[3:6])
