"""Options that the released code lacks, against plain formulations of what they stand for.

Everything is float64 and written out from the specification of the released network (sections 4 to 6) and
of the layers that the paper compares it with (section 16). Inputs and weights are drawn at a size where each
factor, activation, bias and residual matters.
"""

from itertools import product
from math import cos, sin, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models import ModelConfig, build_model
from models.optical_flow import SPyNet
from models.positional_encoding import POSITIONAL_ENCODINGS

LIMIT = 1e-10
C, T, SIZE, PATCH = 4, 3, 8, 4
FRAMES = range(T)


def build(**options) -> nn.Module:
    """A network in float64 whose every parameter, biases and norms included, is random."""
    sizes = {
        "num_frames": T,
        "num_feat": C,
        "feat_size": SIZE,
        "patch_size": PATCH,
        "depth": 2,
        "num_extract_blocks": 1,
        "num_reconstruct_blocks": 1,
        "num_feed_forward_blocks": 2,
        "flow_num_feat": 4,
    }
    torch.manual_seed(0)
    network = build_model(ModelConfig(**sizes | {"feed_forward": "unaligned"} | options)).double()
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.normal_(parameter, std=1.5 / sqrt(fan_in))
    return network.requires_grad_(False)


@pytest.fixture
def features() -> Tensor:
    return 2 * random_tensor(2, T, C, SIZE, SIZE)


@pytest.fixture
def clip() -> Tensor:
    return random_tensor(2, T, 3, SIZE, SIZE)


def random_tensor(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert expected.std() > 0.1
    assert (found - expected).abs().max() <= LIMIT


class Spy(TorchFunctionMode):
    """Keeps the inputs and the result of every attention."""

    def __init__(self, seen: list) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is F.scaled_dot_product_attention:
            self.seen.append((args[:3], result))
        return result


def to_tokens(frames: Tensor) -> np.ndarray:
    """The columns of a D x N matrix: one for each patch, (i, j, c) within it, frames slowest."""
    columns = [
        frames[t, :, y : y + PATCH, x : x + PATCH].permute(1, 2, 0).flatten()
        for t in range(len(frames))
        for y in range(0, SIZE, PATCH)
        for x in range(0, SIZE, PATCH)
    ]
    return torch.stack(columns, dim=1).numpy()


def to_frames(columns: np.ndarray) -> Tensor:
    frames, column = torch.zeros(T, C, SIZE, SIZE, dtype=torch.float64), iter(columns.T)
    for t in range(T):
        for y in range(0, SIZE, PATCH):
            for x in range(0, SIZE, PATCH):
                patch = torch.from_numpy(next(column)).view(PATCH, PATCH, C)
                frames[t, :, y : y + PATCH, x : x + PATCH] = patch.permute(2, 0, 1)
    return frames


def fully_connected_attention(attention: nn.Module, clip: Tensor, heads: int) -> Tensor:
    """Wo V softmax(K^T Q / sqrt(d)), softmax over the keys, for one clip (t, c, h, w)."""
    wq, wk, wv, wo = (getattr(attention, name).weight.numpy() for name in ("query", "key", "value", "output"))
    x = to_tokens(clip)
    d = len(x) // heads
    total = 0
    for head in range(heads):
        rows = slice(head * d, (head + 1) * d)
        q, k, v = wq[rows] @ x, wk[rows] @ x, wv[rows] @ x
        logits = k.T @ q / sqrt(d)
        shares = np.exp(logits - logits.max(axis=0))
        total = total + wo[:, rows] @ v @ (shares / shares.sum(axis=0))
    return to_frames(total)


def convolutional_attention(attention: nn.Module, clip: Tensor, heads: int) -> Tensor:
    """Patches cut from the maps that depthwise (q, k) and dense (v) convolutions give, heads by channels."""
    q, k = (conv(part, clip, groups=C) for part in (attention.query, attention.key))
    v = conv(attention.value, clip)
    group, found = C // heads, []
    for head in range(heads):
        channels = slice(head * group, (head + 1) * group)
        q_h, k_h, v_h = (unfold(part[:, channels]) for part in (q, k, v))
        shares = torch.softmax(q_h @ k_h.T / sqrt(q_h.shape[1]), dim=1)
        tokens = (shares @ v_h).unflatten(0, (T, -1)).transpose(1, 2)
        found.append(F.fold(tokens, (SIZE, SIZE), PATCH, stride=PATCH))
    return conv(attention.output, torch.cat(found, dim=1))


def unfold(frames: Tensor) -> Tensor:
    return F.unfold(frames, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)


def conv(layer: nn.Module, frames: Tensor, groups: int = 1) -> Tensor:
    padding = layer.weight.shape[-1] // 2
    return F.conv2d(frames, layer.weight, layer.bias, padding=padding, groups=groups)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def stack(layers: nn.Module, frames: Tensor) -> Tensor:
    """A convolution, a leaky ReLU, and residual blocks."""
    x = leaky(conv(layers.head, frames))
    for block in layers.blocks:
        x = x + conv(block.conv2, conv(block.conv1, x).clamp(min=0))
    return x


def unaligned_feed_forward(layers: nn.Module, z: Tensor, clip: Tensor) -> Tensor:
    """Section 5.2 without the warps: a window's ends are their own neighbours."""
    after = torch.stack([z[min(t + 1, T - 1)] for t in range(T)])
    before = torch.stack([z[max(t - 1, 0)] for t in range(T)])
    b = stack(layers.backward_stack, torch.cat([clip, after], dim=1))
    f = stack(layers.forward_stack, torch.cat([clip, before], dim=1))
    return leaky(conv(layers.fusion, torch.cat([b, f], dim=1)))


def token_wise_feed_forward(layers: nn.Module, z: Tensor, clip: Tensor) -> Tensor:
    """W2 relu(W1 x + b1) + b2 for each token."""
    first, second = (layer for layer in layers.layers if isinstance(layer, nn.Linear))
    hidden = np.maximum(first.weight.numpy() @ to_tokens(z) + first.bias.numpy()[:, None], 0)
    return to_frames(second.weight.numpy() @ hidden + second.bias.numpy()[:, None])


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Each frame over all its values, biased variance."""
    frames = []
    for frame in x:
        mean = frame.mean()
        variance = ((frame - mean) ** 2).mean()
        frames.append((frame - mean) / torch.sqrt(variance + 1e-5) * layer.weight + layer.bias)
    return torch.stack(frames)


ATTENTIONS = {"stcsa": convolutional_attention, "fcsa": fully_connected_attention, "none": None}
FEED_FORWARDS = {"unaligned": unaligned_feed_forward, "token_wise": token_wise_feed_forward}


def block(layers: nn.Module, x: Tensor, clip: Tensor, attention: str, feed_forward: str) -> Tensor:
    """Pre-norm; the attention adds its normalised input as well; without attention that half is left out."""
    if attention != "none":
        y = norm(layers.norm1, x)
        x = x + (y + ATTENTIONS[attention](layers.attention, y, 1))
    return x + FEED_FORWARDS[feed_forward](layers.feed_forward, norm(layers.norm2, x), clip)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("name", ["stcsa", "fcsa"])
def test_attention(features, name, heads):
    attention = build(attention=name, num_heads=heads).blocks[0].attention
    found = attention(features, FRAMES)
    for index, clip in enumerate(features):
        assert_close(found[index], ATTENTIONS[name](attention, clip, heads))


@pytest.mark.parametrize("reach", ["frame", "place", "neighbours"])
@pytest.mark.parametrize("name", ["stcsa", "fcsa"])
def test_reach_of_attention(name, reach):
    """A token of the last frame, from the softmax over those that it may attend to, one after another."""
    layer = build(attention=name, attention_reach=reach).blocks[0].attention
    seen: list[tuple[Tensor, Tensor]] = []
    with Spy(seen):
        layer(2 * random_tensor(1, T, C, 4 * PATCH, 3 * PATCH), [2])
    (q, k, v), attended = seen[0]
    places = [(t, y, x) for t in range(T) for y in range(4) for x in range(3)]
    queries = [place for place in places if place[0] == 2]
    for index, (t, y, x) in enumerate(queries):
        allowed = [
            number
            for number, (t_k, y_k, x_k) in enumerate(places)
            if {
                "frame": t_k == t,
                "place": (y_k, x_k) == (y, x),
                "neighbours": abs(y_k - y) <= 1 and abs(x_k - x) <= 1,
            }[reach]
        ]
        assert 0 < len(allowed) < len(places)
        logits = torch.stack([q[0, 0, index] @ k[0, 0, number] for number in allowed]) / sqrt(q.shape[-1])
        shares = logits.exp() / logits.exp().sum()
        expected = sum(share * v[0, 0, number] for share, number in zip(shares, allowed, strict=True))
        assert (attended[0, 0, index] - expected).abs().max() <= LIMIT


@pytest.mark.parametrize("name", FEED_FORWARDS)
def test_feed_forward(features, clip, name):
    layers = build(feed_forward=name).blocks[0].feed_forward
    before, after = features[:, [0, 0, 1]], features[:, [1, 2, 2]]
    found = layers(before, features, after, clip, None)
    for index in range(len(clip)):
        assert_close(found[index], FEED_FORWARDS[name](layers, features[index], clip[index]))


@pytest.mark.parametrize("norm", ["spatial_affine", "channel"])
@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_blocks(features, clip, attention, feed_forward, norm):
    model = build(
        attention=attention, feed_forward=feed_forward, norm=norm, positional_encoding="sinusoidal_3d"
    )
    found = model.transform(features, clip, model.flows(clip))
    for index in range(len(clip)):
        x = features[index] + described_encoding((T, C, SIZE, SIZE))
        for layers in model.blocks:
            x = block(layers, x, clip[index], attention, feed_forward)
        assert_close(found[index], x)


def test_channel_norm_has_one_pair_for_each_channel():
    layers = build(norm="channel").blocks[0]
    assert layers.norm1.weight.shape == layers.norm2.bias.shape == (C, 1, 1)


def released_encoding(shape: tuple[int, ...], num_frames: int) -> Tensor:
    """Frame slots play the channels; channel, row and column are the positions (section 4)."""
    t, c, h, w = shape
    n = 2 * -(-num_frames // 6)
    code = torch.zeros(shape, dtype=torch.float64)
    for slot, channel, y, x in product(range(t), range(c), range(h), range(w)):
        axis, r = divmod(slot, n)
        place, turn = (channel, y, x)[axis], (sin, cos)[r >= n // 2]
        code[slot, channel, y, x] = turn(place * 10000 ** (-2 * (r % (n // 2)) / n))
    return code


def described_encoding(shape: tuple[int, ...]) -> Tensor:
    """n = 2 ceil(C / 6) channels each for frame, row and column; sine in even, cosine in odd ones."""
    t, c, h, w = shape
    n = 2 * -(-c // 6)
    code = torch.zeros(shape, dtype=torch.float64)
    for slot, channel, y, x in product(range(t), range(c), range(h), range(w)):
        axis, r = divmod(channel, n)
        place, turn = (slot, y, x)[axis], (sin, cos)[r % 2]
        code[slot, channel, y, x] = turn(place * 10000 ** (-2 * (r // 2) / n))
    return code


@pytest.mark.parametrize("num_frames, num_feat", [(3, 4), (5, 8), (7, 12), (7, 14)])
def test_positional_encodings(num_frames, num_feat):
    config = ModelConfig(num_frames=num_frames, num_feat=num_feat, feat_size=8)
    shape = (num_frames, num_feat, 8, 8)
    x = torch.randn(2, *shape, dtype=torch.float64)
    added = {"none": torch.zeros(shape), "sinusoidal_3d": described_encoding(shape)}
    added["as_released"] = released_encoding(shape, num_frames)
    for name, code in added.items():
        found = POSITIONAL_ENCODINGS[name](config)(x)
        assert (found - (x + code)).abs().max() < 1e-6, name  # the frequencies are float32


def test_learned_positional_encoding():
    torch.manual_seed(0)
    encoding = POSITIONAL_ENCODINGS["learned"](ModelConfig(num_frames=5, num_feat=16, feat_size=16))
    assert encoding.code.shape == (5, 16, 16, 16) and encoding.code.requires_grad
    assert encoding.code.std().item() == pytest.approx(0.02, rel=0.02)
    x = torch.randn(2, 3, 16, 16, 16)  # a shorter window takes the first slots
    assert torch.equal(encoding(x), x + encoding.code[:3])


def test_every_layer_starts_as_published():
    """Section 6: residual blocks He-normal times 0.1, SPyNet He-normal by fan-out, else torch's default."""
    torch.manual_seed(0)
    network = build_model(ModelConfig(feat_size=8, depth=1, num_extract_blocks=2, num_reconstruct_blocks=2))
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in, fan_out = layer.weight[0].numel(), layer.weight.numel() // layer.weight.shape[1]
            if name.startswith("spynet."):
                assert_normal(layer, sqrt(2 / fan_out), name)
            elif ".conv" in name:
                assert_normal(layer, 0.1 * sqrt(2 / fan_in), name)
            else:
                bound = 1 / sqrt(fan_in)
                assert layer.bias.abs().max() <= bound, name
                assert 0.95 * bound < layer.weight.abs().max() <= bound, name
        elif "norm" in name:
            assert torch.equal(layer.weight, torch.ones(64, 8, 8)), name
            assert not layer.bias.any(), name


def assert_normal(layer: nn.Conv2d, deviation: float, name: str) -> None:
    assert not layer.bias.any(), name
    margin = 4 / sqrt(2 * layer.weight.numel())  # four standard errors
    assert layer.weight.std().item() == pytest.approx(deviation, rel=margin), name
    assert layer.weight.abs().max() > 3 * deviation, name  # a uniform distribution ends at 1.73


def test_flow_network_is_built_as_published():
    spynet = SPyNet()
    assert spynet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert spynet.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert len(spynet.levels) == 6
    widths = [tuple(conv.weight.shape) for conv in spynet.levels[0]]
    assert widths == [(32, 8, 7, 7), (64, 32, 7, 7), (32, 64, 7, 7), (16, 32, 7, 7), (2, 16, 7, 7)]
