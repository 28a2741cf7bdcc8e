"""Timing, on a device that can be trusted to lie, and what a measurement records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from models import build_model
from models.config import BasicVSRConfig, ModelConfig
from vsrbench.core.config import read_yaml, resolve_variant
from vsrbench.core.errors import InputError
from vsrbench.evaluation import runtime
from vsrbench.evaluation.inference import RestoreOptions
from vsrbench.evaluation.runtime import (
    ENOUGH_REPEATS,
    LONG_ENOUGH,
    MAX_ATTEMPTS,
    MAX_REPEATS,
    MIN_REPEATS,
    Timing,
    measure,
    measure_runtime,
    time_repeats,
    time_undisturbed,
)

TINY = Path(__file__).parents[2] / "workflow" / "tiny.yaml"
LAUNCH, WORK = 0.001, 0.05  # seconds


class FakeDevice:
    """Takes orders at once and works them off later, as a GPU does; it has a clock of its own."""

    def __init__(self) -> None:
        self.now = self.pending = 0.0

    def launch(self) -> None:
        self.now += LAUNCH
        self.pending += WORK

    def synchronise(self) -> None:
        self.now += self.pending
        self.pending = 0.0

    def clock(self) -> float:
        return self.now


def test_repeats_last_until_the_device_is_done():
    device = FakeDevice()
    device.launch()  # work of before, which is not the first repeat's
    seconds = time_repeats(device.launch, device.synchronise, budget_seconds=1, clock=device.clock)
    assert seconds == pytest.approx([LAUNCH + WORK] * len(seconds))


def test_the_fake_device_shows_a_missing_synchronisation():
    device = FakeDevice()
    seconds = time_repeats(device.launch, lambda: None, budget_seconds=0.1, clock=device.clock)
    assert max(seconds) < WORK / 10 and device.pending > 0


@pytest.mark.parametrize(
    "budget, work, repeats",
    [
        (0, 0.05, ENOUGH_REPEATS),
        (2, 0.05, 40),
        (1000, 0.05, MAX_REPEATS),
        (0, 1, LONG_ENOUGH),
        (15, 1, 15),
        (0, 60, MIN_REPEATS),
    ],
)
def test_twenty_repeats_or_ten_seconds(monkeypatch, budget, work, repeats):
    """Each lasts as long as the device works; the time to launch is left out."""
    monkeypatch.setitem(globals(), "LAUNCH", 0)
    monkeypatch.setitem(globals(), "WORK", work)
    device = FakeDevice()
    seconds = time_repeats(device.launch, device.synchronise, budget_seconds=budget, clock=device.clock)
    assert len(seconds) == repeats


def test_warming_up_takes_its_time_and_no_more():
    device = FakeDevice()
    assert (
        time_repeats(device.launch, device.synchronise, budget_seconds=0, enough=0, clock=device.clock) == []
    )


def small_model(name: str):
    return build_model(resolve_variant(read_yaml(TINY), name).model).eval()


def test_measurement_is_recorded(tmp_path):
    variant = resolve_variant(read_yaml(TINY), "full")
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(variant.to_dict()))
    sizes = [(16, 16), (32, 48)]
    measure_runtime(
        config=tmp_path / "full.yaml", sizes=sizes, out=tmp_path / "full.json", budget_seconds=0.05
    )
    small, large = json.loads((tmp_path / "full.json").read_text())["measurements"]
    assert (small["height"], small["width"], small["variant"]) == (16, 16, "full")
    latency = large["latency_ms"]
    assert 0 < latency["q25"] <= latency["median"] <= latency["q75"] and latency["repeats"] >= MIN_REPEATS
    assert large["peak_memory_gib"] is None or large["peak_memory_gib"] > 0
    assert large["peak_rss_gib"] > 0.05
    assert large["parameters_m"] == sum(p.numel() for p in small_model("full").parameters()) / 1e6
    assert {"device", "threads", "load", "versions"} <= large["machine"].keys()
    # 32 x 48 takes 3 x 5 tiles of 16, one every 8 pixels.
    assert large["gflops_per_frame"] == pytest.approx(15 * small["gflops_per_frame"])


@pytest.mark.parametrize("disturbances, attempts", [([None], 1), (["a", None], 2), (["a", "b", "c"], 3)])
def test_disturbed_time_is_measured_again_within_limits(disturbances, attempts):
    timings = [Timing(np.array([9.0 - number]), reason) for number, reason in enumerate(disturbances)]
    left = iter(timings)
    assert time_undisturbed(lambda: next(left)) == (timings[-1], attempts)


def test_fastest_of_the_disturbed_counts():
    left = iter(Timing(np.array([time]), "a job") for time in (3.0, 2.0, 4.0))
    found, _ = time_undisturbed(lambda: next(left))
    assert (found.milliseconds, found.disturbed) == (2.0, "a job")


@pytest.fixture
def busy_cores():
    """Processes that compute without end, two for each core."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(2 * len(os.sched_getaffinity(0)))]
    yield
    for process in spinning:
        process.kill()
        process.wait()


def test_time_on_busy_cores_is_marked(tmp_path, busy_cores, caplog):
    variant = resolve_variant(read_yaml(TINY), "full")
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(variant.to_dict()))
    measure_runtime(
        config=tmp_path / "full.yaml", sizes=[(16, 16)], out=tmp_path / "full.json", budget_seconds=0.5
    )
    (found,) = json.loads((tmp_path / "full.json").read_text())["measurements"]
    assert found["disturbed"] and found["attempts"] == MAX_ATTEMPTS
    assert "full.json: 16 x 16 is marked as disturbed" in caplog.text


def test_steady_state_has_less_to_do_than_a_window():
    """First features and flows are those of the window before, but for the newest frame's."""
    model = small_model("full")
    found = measure(model, 16, 16, RestoreOptions(), budget_seconds=0)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.rand(1, model.config.num_frames, 3, 16, 16))
    assert 0.2 < found["gflops_per_frame"] / (counter.get_total_flops() / 1e9) < 0.9


def test_whole_frames_take_less_than_tiles():
    model = build_model(
        ModelConfig(
            num_feat=8,
            feat_size=16,
            depth=1,
            num_extract_blocks=1,
            num_reconstruct_blocks=1,
            num_feed_forward_blocks=1,
            flow_num_feat=8,
            positional_encoding="none",
            norm="channel",
        )
    )
    whole, tiled = (
        measure(model, 48, 64, RestoreOptions(mode), budget_seconds=0) for mode in ("whole_frame", "tiled")
    )
    assert whole["gflops_per_frame"] < tiled["gflops_per_frame"] / 2


def test_video_is_long_enough_for_a_fast_network(monkeypatch):
    monkeypatch.setattr(runtime, "MAX_REPEATS", 4)
    monkeypatch.setattr(runtime, "why_disturbed", lambda *_, **__: "a test")  # as many attempts as there are
    found = measure(small_model("channel_norm"), 16, 16, RestoreOptions(), budget_seconds=100)
    assert found["latency_ms"]["repeats"] == 4 and found["attempts"] == MAX_ATTEMPTS


def test_given_flow_is_fed():
    found = measure(small_model("oracle_flow"), 16, 16, RestoreOptions(), budget_seconds=0)
    assert found["gflops_per_frame"] > 0


def test_frames_smaller_than_a_tile_are_refused():
    with pytest.raises(InputError, match="smaller than a tile"):
        measure(small_model("full"), 8, 8, RestoreOptions(), budget_seconds=0)


def test_operations_count_a_multiply_add_as_two():
    """The published network on a window of 64 x 64: 1139.87 G by hand, less 2 of 12 flows that none uses."""
    with torch.device("meta"):
        model = build_model(ModelConfig()).eval()
        clip = torch.rand(1, 5, 3, 64, 64)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(clip)
    assert counter.get_total_flops() / 1e9 == pytest.approx(1139.87 - 31.44 * 2 / 12, rel=1e-5)


def test_a_network_for_whole_clips_is_timed_over_clips():
    model = build_model(BasicVSRConfig(num_feat=8, num_blocks=1, flow_num_feat=8)).eval()
    measured = measure(model, 32, 32, RestoreOptions("tiled"), budget_seconds=0.01)
    assert (measured["mode"], measured["tile_overlap"]) == ("whole_clip", None)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.rand(1, runtime.CLIP, 3, 32, 32))
    assert measured["gflops_per_frame"] == pytest.approx(counter.get_total_flops() / runtime.CLIP / 1e9)
    assert measured["parameters_m"] == sum(p.numel() for p in model.parameters()) / 1e6
