"""The network's shapes, gradients and invariances, and what it says of input that does not suit."""

import pytest
import torch
from small_network import small_network

from models import CHOICES
from models.baselines import ANCHOR
from models.optical_flow import SPyNet, warp
from models.positional_encoding import frequencies, sinusoidal_encoding
from models.resize import imresize
from vsrbench.benchmarks.released_procedure import plain_network


def random_clip(num_frames=5, height=16, width=16, batch=1):
    return torch.rand(batch, num_frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def random_flows(clip):
    generator = torch.Generator().manual_seed(2)
    shape = (*clip.shape[:2], 2, *clip.shape[-2:])
    return tuple(2 * torch.randn(shape, generator=generator) for _ in range(2))


@pytest.mark.parametrize("key, choice", [(key, choice) for key in CHOICES for choice in CHOICES[key]])
def test_every_option_restores_every_frame_and_trains_every_parameter(key, choice):
    model = small_network(feat_size=32, flow_num_feat=16, **{key: choice})
    clip = random_clip(height=32, width=32, batch=2)
    restored = model(clip, random_flows(clip))
    assert restored.shape == (2, 5, 3, 128, 128)
    restored.square().sum().backward()
    untrained = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not untrained
    idle = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().max() > 1e-12]
    assert not [name for name in idle if not name.endswith("key.bias")], idle  # it cancels in the softmax


@pytest.mark.parametrize("num_frames", [1, 3, 7])
def test_windows_of_other_lengths(num_frames):
    assert small_network(num_frames=num_frames)(random_clip(num_frames)).shape == (1, num_frames, 3, 64, 64)


def test_agrees_with_the_network_written_out_plainly():
    model, clip = small_network(feat_size=32, num_heads=2), random_clip(height=32, width=32, batch=2)
    with torch.no_grad():
        assert (model(clip) - plain_network(model, clip)).abs().max() < 2e-5


@pytest.mark.parametrize(
    "options", [dict(attention="none"), dict(feed_forward="token_wise"), dict(attention="fcsa"), {}]
)
def test_kept_slots_are_those_of_the_whole_result(options):
    model, clip = small_network(**options), random_clip()
    with torch.no_grad():
        features, flows = model.extract(clip), model.flows(clip)
        every = model.transform(features, clip, flows)
        for keep in ([2], [0], [4], [0, 3], [1, 2, 3]):
            assert torch.allclose(model.transform(features, clip, flows, keep), every[:, keep], atol=1e-5)


@pytest.mark.parametrize("positional_encoding", CHOICES["positional_encoding"])
def test_autocast_leaves_the_residual_path_in_float32(positional_encoding):
    """Else the flow's coordinates would be rounded to bfloat16 with it, to half a pixel at 128."""
    model, clip = small_network(positional_encoding=positional_encoding), random_clip()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, flows = model.extract(clip), model.flows(clip)
        assert features.dtype == torch.bfloat16
        assert flows[0].dtype == flows[1].dtype == torch.float32
        assert model.transform(features, clip, flows).dtype == torch.float32


@pytest.mark.parametrize("norm", CHOICES["norm"])
def test_channels_stay_last_in_memory_from_norm_to_norm(norm):
    """Convolutions follow the layout of their input, and are faster so."""
    model, inputs = small_network(norm=norm), []
    for block in model.blocks:
        for part in (
            block.norm1,
            block.attention.query,
            block.attention.value,
            block.attention.output,
            block.norm2,
        ):
            part.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(random_clip())
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in inputs)


def test_recomputation_changes_nothing_but_memory():
    model, clip = small_network(num_reconstruct_blocks=7), random_clip()
    gradients = []
    for activation_checkpointing in (False, True):
        model.activation_checkpointing = activation_checkpointing
        assert model.activation_checkpointing is activation_checkpointing
        model.zero_grad()
        model(clip).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_recomputation_keeps_fewer_tensors():
    model, clip = small_network(num_reconstruct_blocks=20, num_feed_forward_blocks=20), random_clip()
    held = []
    for activation_checkpointing in (False, True):
        model.activation_checkpointing = activation_checkpointing
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x) or x, lambda x: x
        ):
            model(clip)
        held.append(sum({x.data_ptr(): x.nbytes for x in saved}.values()))
    assert held[1] < 0.5 * held[0]


def test_still_clip_without_position_code_restores_all_inner_frames_alike():
    """Attention is blind to the order of tokens, and every inner frame has the same neighbours."""
    still = random_clip(1).expand(-1, 5, -1, -1, -1)
    with torch.no_grad():
        restored = small_network(positional_encoding="none")(still)
        assert torch.allclose(restored[:, 1], restored[:, 3], atol=1e-5)
        coded = small_network()(still)
    assert not torch.allclose(coded[:, 1], coded[:, 3], atol=1e-3)


def test_reversed_time_swaps_the_directions():
    """With the directions' weights swapped and no positional encoding, a reversed clip comes out reversed."""
    model, clip = small_network(positional_encoding="none"), random_clip()
    with torch.no_grad():
        expected = model(clip).flip(1)
        for block in model.blocks:
            feed_forward = block.feed_forward
            pair = feed_forward.backward_stack, feed_forward.forward_stack
            feed_forward.forward_stack, feed_forward.backward_stack = pair
            weight = feed_forward.fusion.weight
            weight.copy_(torch.cat(weight.chunk(2, dim=1)[::-1], dim=1))
        assert torch.allclose(model(clip.flip(1)), expected, atol=1e-5)


def test_unaligned_is_flow_aligned_with_flows_of_zero():
    clip = random_clip()
    still = tuple(torch.zeros(1, 5, 2, 16, 16) for _ in range(2))
    aligned, unaligned = small_network(flow="oracle"), small_network(feed_forward="unaligned")
    unaligned.load_state_dict(aligned.state_dict())
    with torch.no_grad():
        assert torch.allclose(aligned(clip, still), unaligned(clip), atol=1e-5)
        assert not torch.allclose(aligned(clip, random_flows(clip)), unaligned(clip), atol=1e-3)


def test_channel_norm_takes_any_size_of_whole_patches():
    assert small_network(norm="channel")(random_clip(height=20, width=36)).shape[-2:] == (80, 144)


def test_channel_norm_is_the_released_norm_with_one_affine_pair_a_channel():
    channel, spatial = small_network(norm="channel"), small_network()
    with torch.no_grad():
        for name, parameter in channel.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) if "norm" in name else 0)
        own = spatial.state_dict()
        spatial.load_state_dict({name: v.expand_as(own[name]) for name, v in channel.state_dict().items()})
        assert torch.allclose(channel(random_clip()), spatial(random_clip()), atol=1e-5)


@pytest.mark.parametrize(
    "options, clip, message",
    [
        ({}, random_clip(7), r"expected at most 5 frames \(model.num_frames\), got 7"),
        (
            dict(norm="channel"),
            random_clip(height=18),
            "18 x 16 cannot be divided into patches of model.patch_size 4",
        ),
        (
            {},
            random_clip(height=20),
            "norm spatial_affine fixes the input size to 16 x 16 pixels .*, got 20 x 16",
        ),
        (
            dict(norm="channel", positional_encoding="learned"),
            random_clip(height=20),
            "positional_encoding learned",
        ),
        (dict(flow="oracle"), random_clip(), "model.flow is oracle"),
    ],
)
def test_what_does_not_suit_is_said(options, clip, message):
    with pytest.raises(ValueError, match=message) as caught:
        small_network(**options)(clip)
    assert "\n" not in str(caught.value)


def test_released_position_code_takes_frame_slots_for_channels():
    """Frame by frame: sine and cosine of the channel, sine and cosine of the row, sine of the column."""
    code = sinusoidal_encoding(frequencies(5), (64, 64, 64), interleaved=False)
    place = code[:5, 3, 10, 20].tolist()
    assert place == pytest.approx([0.1411, -0.9900, -0.5440, -0.8391, 0.9129], abs=1e-4)
    code = sinusoidal_encoding(frequencies(7), (64, 64, 64), interleaved=False)
    place = code[:7, 3, 10, 20].tolist()
    assert place == pytest.approx([0.1411, 0.0300, -0.9900, 0.9996, -0.5440, 0.0998, -0.8391], abs=1e-4)


def test_described_position_code_gives_each_axis_its_channels():
    model = small_network(num_feat=12, positional_encoding="sinusoidal_3d")
    code = model.positional_encoding(torch.zeros(1, 5, 12, 16, 16))[0]
    assert torch.equal(code[:, :4], code[:, :4, :1, :1].expand(-1, -1, 16, 16))  # frame
    assert torch.equal(code[:, 4:8], code[:1, 4:8, :, :1].expand(5, -1, -1, 16))  # row
    assert torch.equal(code[:, 8:], code[:1, 8:, :1].expand(5, -1, 16, -1))  # column
    assert code[3, 0, 0, 0].item() == pytest.approx(torch.tensor(3.0).sin().item(), abs=1e-6)
    assert code[3, 1, 0, 0].item() == pytest.approx(torch.tensor(3.0).cos().item(), abs=1e-6)
    assert code[3, 2, 0, 0].item() == pytest.approx(torch.tensor(0.03).sin().item(), abs=1e-6)


def test_warp_pulls_from_where_the_flow_points():
    image = torch.arange(30.0).view(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0] = 2
    assert torch.allclose(warp(image, flow)[..., :4], image[..., 2:], atol=1e-5)
    assert not warp(image, flow)[..., 4:].any()
    assert torch.allclose(
        warp(image, flow, "border")[..., 4:], image[..., -1:].expand(-1, -1, -1, 2), atol=1e-5
    )
    flow[:, 0], flow[:, 1] = 0, -1
    assert torch.allclose(warp(image, flow)[..., 1:, :], image[..., :-1, :], atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (16, 20), (70, 33)])
def test_spynet_takes_any_size(size):
    spynet = SPyNet(8)
    assert spynet(torch.rand(2, 3, *size), torch.rand(2, 3, *size)).shape == (2, 2, *size)


def test_bicubic_enlarges_each_frame():
    clip = random_clip(2, 6, 5)
    enlarged = ANCHOR.enlarge(clip)
    assert enlarged.shape == (1, 2, 3, 24, 20)
    assert torch.equal(enlarged[0, 1], imresize(clip[0, 1], 4))
    assert torch.allclose(imresize(torch.full((1, 7, 9), 0.3), 1 / 2), torch.tensor(0.3))


def test_imresize_wants_floats():
    with pytest.raises(ValueError, match="floating-point"):
        imresize(torch.zeros(1, 8, 8, dtype=torch.uint8), 2)
