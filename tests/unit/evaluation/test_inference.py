"""Both ways to restore a clip, against the plain procedure and at the edges of what they take."""

import numpy as np
import pytest
import torch
from small_network import small_network

from models.basicvsr import BasicVSR
from models.config import BasicVSRConfig, ModelConfig
from vsrbench.benchmarks.released_procedure import plain_tiled
from vsrbench.core.errors import InputError
from vsrbench.evaluation.inference import (
    RestoreOptions,
    _chain,
    _SharedWork,
    restore_clip,
    to_frame,
    to_uint8,
)
from vsrbench.evaluation.tiling import consecutive_windows, tile_spans


def small_model(**options):
    model = small_network(**options)
    with torch.no_grad():  # the norms' affine maps start as ones and zeros, which would hide mistakes
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def frames_of(model, lq, mode, precision="float32", **inputs):
    """The restored clip in 8 bits."""
    options = RestoreOptions(mode, precision=precision)
    return np.stack([to_frame(image) for image in restore_clip(model, lq, options, **inputs)])


def random_clip(length, height, width):
    return np.random.default_rng(0).integers(0, 256, (length, height, width, 3), dtype=np.uint8)


def random_flows(length, height, width):
    generator = np.random.default_rng(1)
    return tuple(generator.normal(0, 2, (length, 2, height, width)).astype(np.float32) for _ in range(2))


def to_tensor(lq):
    return torch.from_numpy(lq).permute(0, 3, 1, 2)[None].float() / 255


@pytest.mark.parametrize(
    "length, height, width, options",
    [
        (5, 16, 16, {}),
        (7, 24, 33, {}),
        (6, 30, 16, dict(num_frames=3, norm="channel", positional_encoding="learned")),
        (5, 17, 40, dict(attention="fcsa", feed_forward="token_wise")),
        (8, 20, 20, dict(num_frames=7, num_heads=2, feed_forward="unaligned", attention="none")),
        (3, 16, 20, dict(num_frames=1)),
    ],
)
def test_tiled_is_the_plain_procedure(length, height, width, options):
    model, lq = small_model(**options), random_clip(length, height, width)
    restored = list(restore_clip(model, lq, RestoreOptions("tiled")))
    assert len(restored) == length
    with torch.no_grad():
        for frame, image in enumerate(restored):
            assert (image - plain_tiled(model, model.config, lq, frame)).abs().max() < 2e-5


def test_picking_frames_changes_nothing():
    model, lq = small_model(norm="channel"), random_clip(9, 16, 20)
    for mode in ("tiled", "whole_frame"):
        every = frames_of(model, lq, mode)
        some = frames_of(model, lq, mode, frames=[7, 0, 4])
        assert all(
            np.abs(every[frame].astype(int) - image).max() <= 1
            for frame, image in zip((0, 4, 7), some, strict=True)
        )


def test_whole_frame_of_whole_patches_is_the_network_itself():
    model, lq = small_model(norm="channel"), random_clip(5, 20, 28)
    restored = frames_of(model, lq, "whole_frame")
    with torch.no_grad():
        expected = to_uint8(model(to_tensor(lq))[0]).permute(0, 2, 3, 1).numpy()
    assert np.abs(restored.astype(int) - expected).max() <= 1
    assert (restored == expected).mean() > 0.999


@pytest.mark.parametrize("length, height, width", [(1, 5, 3), (2, 16, 21), (4, 9, 40), (11, 18, 18)])
def test_whole_frame_takes_any_size_and_length(length, height, width):
    lq = random_clip(length, height, width)
    restored = frames_of(small_model(norm="channel"), lq, "whole_frame")
    assert restored.shape == (length, 4 * height, 4 * width, 3) and restored.dtype == np.uint8


def test_whole_frame_fills_up_to_whole_patches_by_repeating_the_edge():
    model, lq = small_model(norm="channel"), random_clip(5, 18, 21)
    filled = np.pad(lq, ((0, 0), (0, 2), (0, 3), (0, 0)), mode="edge")
    restored = frames_of(model, lq, "whole_frame")
    expected = frames_of(model, filled, "whole_frame")[:, :72, :84]
    assert np.array_equal(restored, expected)


@pytest.mark.parametrize("num_frames", [1, 3, 5, 7])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 7, 8, 13, 100])
def test_consecutive_windows_keep_each_frame_once_with_its_neighbours(num_frames, length):
    kept = []
    for window in consecutive_windows(num_frames, length, range(length)):
        assert len(window.frames) == num_frames
        assert set(window.frames) <= set(range(length))
        for index in window.output_indices:
            frame = window.frames[index]
            kept.append(frame)
            for distance in range(1, num_frames // 4 + 1):
                for neighbour in (frame - distance, frame + distance):
                    assert neighbour in window.frames or not 0 <= neighbour < length
    assert kept == list(range(length))


def test_clip_shorter_than_the_window_repeats_its_last_frame():
    (window,) = consecutive_windows(5, 3, range(3))
    assert (window.frames, window.output_indices) == ((0, 1, 2, 2, 2), (0, 1, 2))


@pytest.mark.parametrize("overlap", [None, 0, 4, 14])
@pytest.mark.parametrize("size", range(16, 70, 3))
def test_tiles_cover_an_axis_once(size, overlap):
    spans = tile_spans(size, 16, overlap)
    assert spans[0].first == 0 and spans[-1].last == 4 * size
    assert all(before.last == after.first for before, after in zip(spans, spans[1:], strict=False))
    assert all(4 * span.start <= span.first < span.last <= 4 * span.stop for span in spans)


def test_oracle_flows_reach_the_network():
    """In the middle of a clip, a whole frame restored with given flows is the network's own result."""
    model, lq = small_model(norm="channel", flow="oracle"), random_clip(5, 16, 20)
    flows = random_flows(5, 16, 20)
    flows[0][0] = flows[1][4] = 0  # an end's neighbour is the frame itself
    restored = np.stack(
        [image.numpy() for image in restore_clip(model, lq, RestoreOptions("whole_frame"), flows=flows)]
    )
    with torch.no_grad():
        given = tuple(torch.from_numpy(flow)[None] for flow in flows)
        expected = model(to_tensor(lq), given)[0].numpy()
    assert np.abs(restored - expected).max() < 1e-4
    assert len(frames_of(model, lq, "tiled", flows=flows)) == 5


def test_oracle_flow_between_distant_frames_follows_the_path():
    """A steady shift of one pixel a frame is a shift of three pixels over three frames."""
    shift = np.zeros((5, 2, 8, 8), np.float32)
    shift[:, 0] = 1
    assert torch.allclose(
        _chain((-shift, shift), 1, 4), torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    )
    assert torch.allclose(_chain((-shift, shift), 4, 1)[:, 0], torch.tensor(-3.0))
    assert not _chain((-shift, shift), 2, 2).any()


def test_oracle_flow_is_looked_up_where_the_path_has_come_to():
    """Pixel by pixel over whole-numbered flows; beyond the edge, the nearest pixel's."""
    flows = np.random.default_rng(0).integers(-2, 3, (2, 4, 2, 8, 8)).astype(np.float32)
    for ref, supp, direction in ((0, 3, flows[1]), (3, 0, flows[0])):
        expected = np.zeros((2, 8, 8), np.float32)
        for row, column in np.ndindex(8, 8):
            x, y = column, row
            for frame in range(ref, supp, 1 if supp > ref else -1):
                dx, dy = direction[frame, :, min(max(y, 0), 7), min(max(x, 0), 7)].astype(int)
                x, y = x + dx, y + dy
            expected[:, row, column] = x - column, y - row
        np.testing.assert_allclose(_chain(tuple(flows), ref, supp)[0], expected, atol=1e-4)


def test_work_shared_between_windows_is_bounded_and_done_once(monkeypatch):
    model, lq = small_model(), random_clip(12, 16, 16)
    frames, pairs, held = [], [], []
    restore = _SharedWork.restore

    def restore_and_count(work, *arguments):
        restored = restore(work, *arguments)
        held.append((len(work._features), len(work._flows)))
        return restored

    monkeypatch.setattr(_SharedWork, "restore", restore_and_count)
    extract, spynet = model.extract, model.spynet.forward
    monkeypatch.setattr(model, "extract", lambda clip: frames.append(clip.shape[1]) or extract(clip))
    monkeypatch.setattr(
        model.spynet, "forward", lambda ref, supp: pairs.append(len(ref)) or spynet(ref, supp)
    )
    list(restore_clip(model, lq, RestoreOptions("tiled")))
    assert sum(frames) == 12
    assert sum(pairs) <= 2 * 11 + 12 + 8  # neighbours, frames with themselves, the jumps at both ends
    assert max(held) <= (5, 5 * 5)


def test_bfloat16_is_close_and_leaves_its_caller_alone():
    model, lq = small_model(norm="channel"), random_clip(6, 16, 20)
    exact = frames_of(model, lq, "whole_frame").astype(int)
    for frame, image in enumerate(
        restore_clip(model, lq, RestoreOptions("whole_frame", precision="bfloat16"))
    ):
        assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        assert 0 < np.abs(exact[frame] - to_frame(image)).mean() < 2


@pytest.mark.parametrize(
    "settings, shape, message",
    [
        (dict(mode="tiled"), (4, 16, 16, 3), "has 4 frames; tiled needs at least 5"),
        (dict(mode="tiled"), (5, 15, 16, 3), "frames of 15 x 16 are smaller than a tile of 16"),
        (dict(mode="whole_frame"), (5, 16, 16, 3), "norm spatial_affine fixes the input size to 16 x 16"),
        (dict(mode="patches"), (5, 16, 16, 3), "mode: unknown mode 'patches'; expected one of tiled"),
        (
            dict(mode="tiled", precision="half"),
            (5, 16, 16, 3),
            "precision: unknown precision 'half'; expected one of float32",
        ),
        (dict(mode="tiled", frames=[5]), (5, 16, 16, 3), r"frames: expected indices in \[0, 5\), got \[5\]"),
        (dict(mode="tiled"), (5, 16, 16), "expected uint8"),
        (dict(mode="tiled"), (0, 16, 16, 3), "expected uint8"),
    ],
)
def test_what_does_not_suit_is_said_at_once(settings, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        frames_of(small_model(), np.zeros(shape, np.uint8), **settings)
    assert "\n" not in str(caught.value)


def test_oracle_network_asks_for_flows():
    model, lq = small_model(flow="oracle"), random_clip(5, 16, 16)
    with pytest.raises(InputError, match="requires two arrays"):
        restore_clip(model, lq)
    with pytest.raises(InputError, match="requires two arrays"):
        restore_clip(model, lq, flows=random_flows(4, 16, 16))


def test_what_ties_a_network_to_a_size():
    assert ModelConfig(norm="channel").fixed_size is None
    assert "spatial_affine" in ModelConfig().fixed_size
    assert "learned" in ModelConfig(norm="channel", positional_encoding="learned").fixed_size


def small_basicvsr():
    torch.manual_seed(0)
    return BasicVSR(BasicVSRConfig(num_feat=8, num_blocks=1, flow_num_feat=8)).eval()


def test_a_network_for_clips_restores_the_whole_clip():
    model, lq = small_basicvsr(), random_clip(7, 17, 20)
    with torch.no_grad():
        expected = model(to_tensor(lq))[0]
    restored = list(restore_clip(model, lq))
    assert all((image - frame).abs().max() < 1e-5 for image, frame in zip(restored, expected, strict=True))
    some = list(restore_clip(model, lq, RestoreOptions("whole_frame"), frames=[5, 1]))
    assert all((image - expected[t]).abs().max() < 1e-5 for image, t in zip(some, (1, 5), strict=True))


def test_segments_of_a_long_clip_are_clips_of_their_own():
    model, lq = small_basicvsr(), random_clip(25, 16, 16)
    segments = {range(9): range(10), range(9, 17): range(8, 18), range(17, 25): range(15, 25)}
    restored = list(restore_clip(model, lq, frames_at_once=10))
    for frames, segment in segments.items():
        with torch.no_grad():
            expected = model(to_tensor(lq[list(segment)]))[0]
        for t in frames:
            assert (restored[t] - expected[segment.index(t)]).abs().max() < 1e-5


def test_a_network_for_clips_in_bfloat16():
    model, lq = small_basicvsr(), random_clip(5, 16, 20)
    exact, rounded = (
        torch.stack(list(restore_clip(model, lq, RestoreOptions(precision=precision))))
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == torch.float32 and 0 < (exact - rounded).abs().max() < 0.05
