"""Each part of the network, and all of it, against what the released code computes."""

import pytest
import torch
from torch import nn

from models.official import official_name
from models.positional_encoding import frequencies, sinusoidal_encoding

SLOTS = range(5)


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def clip(golden):
    return golden["in/lrs_u8"] / 255


@pytest.fixture(scope="module")
def features(golden):
    return golden["in/x"]


@pytest.fixture(scope="module")
def model(network):
    return network()


@pytest.fixture(scope="module")
def flows(model, clip):
    return model.flows(clip)


def neighbours(x):
    return x[:, [0, 0, 1, 2, 3]], x, x[:, [1, 2, 3, 4, 4]]


def test_flows(golden, flows):
    golden.assert_close(flows[0], "out/flows_forward", 1e-4)
    golden.assert_close(flows[1], "out/flows_backward", 1e-4)


def test_flow_of_a_size_that_32_does_not_divide(golden, model):
    first, second = (golden["in/pair_u8"] / 255).split(1)
    golden.assert_close(model.spynet(first, second), "out/spynet_pair", 1e-4)


def test_extraction(golden, model, clip):
    golden.assert_close(model.extract(clip), "out/features", 2e-5, stride=3)


def test_position_code(golden, model):
    code = model.positional_encoding(torch.zeros(1, 5, 8, 64, 64))
    golden.assert_close(code[0], "out/pos_encoding", 2e-6)


@pytest.mark.parametrize(
    "heads, patch, name, stride",
    [
        (1, 8, "attn_layer", 1),
        (2, 8, "attn_layer_heads2_patch8", 3),
        (1, 4, "attn_layer_heads1_patch4", 3),
        (4, 16, "attn_layer_heads4_patch16", 3),
    ],
)
def test_attention(golden, network, features, heads, patch, name, stride):
    attention = network(num_heads=heads, patch_size=patch).blocks[0].attention
    golden.assert_close(features + attention(features, SLOTS), f"out/{name}", 2e-5, stride)


def test_attention_sublayer(golden, model, features):
    golden.assert_close(model.blocks[0].attend(features, SLOTS), "out/attn_sublayer", 2e-5, stride=3)


@pytest.mark.parametrize("blocks, name, stride", [(30, "ffn_layer", 1), (2, "ffn_layer_ffn2", 3)])
def test_feed_forward(golden, network, features, clip, flows, blocks, name, stride):
    feed_forward = network(blocks).blocks[0].feed_forward
    golden.assert_close(feed_forward(*neighbours(features), clip, flows), f"out/{name}", 1e-4, stride)


def test_block(golden, model, features, clip, flows):
    golden.assert_close(model.blocks[0](features, clip, flows, SLOTS), "out/block", 1e-4)


def test_all_blocks(golden, model, clip, flows):
    golden.assert_close(
        model.transform(model.extract(clip), clip, flows), "out/trunk_strided", 1e-4, stride=3
    )


def test_whole_network(golden, model, clip):
    restored = model(clip)
    golden.assert_close(restored[0, 2], "out/full_center", 2e-5)
    golden.assert_close(restored, "out/full_strided", 2e-5, stride=3)


def test_batch_of_two_clips(golden, network, clip):
    model = network(2)
    golden.assert_close(model(clip), "out/full_strided_ffn2", 2e-5, stride=3)
    batch = torch.cat([clip, clip.flip(1, 3)])
    golden.assert_close(model(batch), "out/full_batch2_strided5_ffn2", 2e-5, stride=5)


def test_gradients(golden, network, clip):
    model = network(2)
    with torch.enable_grad():
        restored = model(clip)
        loss = (((restored - 0.5) ** 2 + 1e-12) ** 0.5).sum()
        loss.backward()
    assert loss.item() == pytest.approx(float(golden.array("grad/loss")), rel=1e-6)
    assert_gradients(golden, model)


def assert_gradients(golden, model: nn.Module) -> None:
    gradients = {official_name(name): parameter.grad for name, parameter in model.named_parameters()}
    recorded = dict(zip(golden.array("grad/names"), golden.array("grad/l2norm_fp64"), strict=True))
    assert gradients.keys() == recorded.keys()
    for name, norm in recorded.items():
        if not name.endswith("to_k.bias"):  # cancels in the softmax: its true gradient is 0
            assert gradients[name].norm().item() == pytest.approx(norm, rel=2e-3), name
    for entry in golden.names("grad/tensor/"):
        expected = golden[entry]
        distance = (gradients[entry.removeprefix("grad/tensor/")] - expected).norm()
        assert distance <= 2e-3 * expected.norm(), entry


@pytest.mark.parametrize("num_used, num_frames", [(3, 3), (5, 5), (6, 5), (7, 7), (9, 9)])
def test_position_codes_of_other_windows(functions, num_used, num_frames):
    for interleaved, name in ((False, "released"), (True, "interleaved")):
        code = sinusoidal_encoding(frequencies(num_frames), (8, 10, 12), interleaved)
        functions.assert_close(
            code[:num_used], f"pe/{name}_T{num_used}_numframe{num_frames}_C8_H10_W12", 2e-6
        )
