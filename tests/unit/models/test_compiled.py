"""Every part of the network compiles as one graph, which gives the plain result and is never built again."""

import pytest
import torch
from small_network import small_network

CONFIGURATIONS = {
    "full": {},
    "fcsa_token_wise": {"attention": "fcsa", "feed_forward": "token_wise"},
    "no_attention_unaligned": {"attention": "none", "feed_forward": "unaligned"},
    "oracle_flow_channel_norm": {"flow": "oracle", "norm": "channel", "positional_encoding": "sinusoidal_3d"},
    "attention_to_neighbours": {"attention_reach": "neighbours"},
    "learned_encoding": {"positional_encoding": "learned"},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_one_graph_with_the_plain_result(name):
    network = small_network(num_frames=3, **CONFIGURATIONS[name])
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    flows = (
        (torch.zeros(1, 3, 2, 16, 16), torch.ones(1, 3, 2, 16, 16))
        if network.config.flow == "oracle"
        else None
    )
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            clip = torch.rand(1, 3, 3, 16, 16)
            expected = gradients(network, clip, flows)
            found = gradients(compiled, clip, flows)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def gradients(network, clip, flows):
    network.zero_grad()
    restored = network(clip, flows)
    restored.sum().backward()
    return [restored.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]
