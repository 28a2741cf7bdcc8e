"""What is seen inside a network: the attention of one token, and the optical flow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_training import MODEL, write_clips, write_variant

from models import ModelConfig, build_model
from models.attention import cut_patches
from vsrbench.core.errors import InputError
from vsrbench.data.photo_motion import generate
from vsrbench.evaluation import inspect_network
from vsrbench.evaluation.inspect_network import (
    AttentionWeights,
    Query,
    choose_query,
    inspect_clip,
    read_inspection,
    worst_patch,
)
from vsrbench.evaluation.saved_frames import SAMPLES


def network(**options):
    torch.manual_seed(0)
    return build_model(ModelConfig(**MODEL | options)).eval()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Five frames of 24 x 24 LQ pixels, of which all are scored."""
    (clip,) = write_clips(tmp_path_factory.mktemp("clips"), num_clips=1)
    return replace(clip, scored=(0, 1, 2, 3, 4))


def test_weights_are_those_that_mix_the_values():
    q, k = torch.randn(2, 2, 3, 12, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    values = torch.eye(12).expand(2, 3, 12, 12)  # so that what comes out are the weights
    with AttentionWeights(query=7) as seen:
        mixed = F.scaled_dot_product_attention(q, k, values)
    (weights,) = seen.weights
    torch.testing.assert_close(weights, mixed[0, :, 7])
    mask = torch.rand(12, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    with AttentionWeights(query=7) as seen:
        mixed = F.scaled_dot_product_attention(q, k, values, attn_mask=mask)
    torch.testing.assert_close(seen.weights[0], mixed[0, :, 7])


@pytest.mark.parametrize("attention", ["stcsa", "fcsa"])
def test_every_block_and_head_is_seen(clip, attention):
    seen = inspect_clip(network(attention=attention, depth=2, num_heads=2), clip)
    assert seen.attention.shape == (2, 2, 3, 2, 2)
    np.testing.assert_allclose(seen.attention.sum((2, 3, 4)), 1, rtol=1e-5)
    assert seen.attention.std() > 1e-4


def test_index_is_the_tokens_place_among_all():
    query = Query(patch=8, tile=(4, 2, 3, 4), row=5, column=4, window_index=1, frames=(0, 1, 2))
    frames = torch.zeros(1, 3, 1, 24, 32)
    frames[0, 1, 0, 8:16, 16:24] = 1  # the patch in row 5 - 4 and column 4 - 2 of the tile
    tokens = cut_patches(frames, 8, 1)[0, 0]
    assert tokens.sum(1).argmax() == query.token_index
    assert Query.from_array(query.to_array()) == query


def test_flow_leads_to_the_frame_before(clip):
    model = network(feed_forward="flow_aligned")
    seen = inspect_clip(model, clip)
    assert seen.query.frames[seen.query.window_index] == 2
    frames = torch.from_numpy(clip.read_lq([2, 1])).movedim(-1, 1).float() / 255
    with torch.no_grad():
        expected = model.spynet(frames[:1], frames[1:])[0]
    np.testing.assert_allclose(seen.flow, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "attention", "flow"),
    [
        ({"attention": "none", "feed_forward": "flow_aligned"}, False, True),
        ({"feed_forward": "unaligned"}, True, False),
        ({"feed_forward": "flow_aligned", "flow": "oracle", "depth": 2}, True, False),
    ],
    ids=["no attention", "no flow", "given flow"],
)
def test_what_a_network_lacks_is_empty(clip, options, attention, flow):
    seen = inspect_clip(network(**options), clip)
    assert (seen.attention.size > 0, seen.flow.size > 0) == (attention, flow)


def test_the_patch_asked_is_where_bicubic_errs():
    lq = np.full((24, 40, 3), 100, np.uint8)
    gt = np.full((96, 160, 3), 100, np.uint8)
    gt[70:80, 40:60] = 255
    assert worst_patch(lq, gt, 8) == (2, 1)


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_tile_and_window_lie_inside_the_clip_and_hold_the_query(clip, frame):
    query = choose_query(ModelConfig(**MODEL), replace(clip, scored=(frame,)))
    top, left, rows, columns = query.tile
    assert (rows, columns) == (2, 2) and 0 <= top <= 1 and 0 <= left <= 1
    assert top <= query.row < top + rows and left <= query.column < left + columns
    assert query.frames[query.window_index] == frame and query.frames in ((0, 1, 2), (1, 2, 3), (2, 3, 4))


def test_frames_smaller_than_a_tile_suit_only_networks_of_any_size(clip):
    wide = MODEL | {"feat_size": 32}
    assert choose_query(ModelConfig(**wide, norm="channel"), clip).tile == (0, 0, 3, 3)
    with pytest.raises(InputError, match="spatial_affine fixes the input size to 32 x 32"):
        choose_query(ModelConfig(**wide), clip)


def test_the_first_clips_are_written_and_read_back(tmp_path, monkeypatch):
    counts = {"train": 0, "validation": 0, "test": 1}
    generate(tmp_path / "data", seed=1, degradation="BI", clips_per_photo=counts, num_frames=3, size=64)
    config = write_variant(tmp_path / "full.yaml", model={"feed_forward": "flow_aligned"})
    save_file(network(feed_forward="flow_aligned").state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setattr(inspect_network, "SAMPLES", 2)
    assert SAMPLES > 2
    out = tmp_path / "inspection.safetensors"
    inspect_network.inspect(
        config=config,
        weights=tmp_path / "weights.safetensors",
        manifest=tmp_path / "data" / "manifest.json",
        out=out,
    )
    seen = read_inspection(out, "astronaut_000")
    assert seen.attention.shape == (1, 1, 3, 2, 2) and seen.flow.shape == (2, 16, 16)
    assert read_inspection(out, "chelsea_000") is not None
    assert read_inspection(out, "coffee_000") is None
    out.write_bytes(b"damaged")
    with pytest.raises(InputError, match="inspection.safetensors: not written by `vsrbench inspect`"):
        read_inspection(out, "astronaut_000")
