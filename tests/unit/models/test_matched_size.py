"""Layers of matched size: as many parameters as the full model's, at any size, and nothing else changed."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import build_model
from models.config import ModelConfig

CHANGES = [{"attention": "fcsa"}, {"feed_forward": "unaligned"}, {"feed_forward": "token_wise"}]


def parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config).parameters())


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "".join(change.values()))
@settings(max_examples=15)
@given(
    num_feat=st.sampled_from([16, 32, 64]),
    patch_size=st.sampled_from([4, 8]),
    num_feed_forward_blocks=st.integers(1, 30),
    depth=st.integers(1, 7),
    flow=st.sampled_from(["spynet", "oracle"]),
    num_heads=st.sampled_from([1, 2, 4]),
)
def test_parameters_are_those_of_the_full_model(change, **sizes):
    full = ModelConfig(**sizes, flow_num_feat=16)
    matched = parameters(replace(full, size="matched", **change))
    # One more channel or hidden unit is the finest step; it is coarse where layers are few and heads many.
    step = sizes["depth"] * 8 * sizes["num_heads"] * sizes["num_feat"] * sizes["patch_size"] ** 2
    if change == {"feed_forward": "unaligned"}:
        step = 40 * sizes["depth"] * (sizes["num_feed_forward_blocks"] + 1) * 2 * (sizes["num_feat"] + 32)
    assert abs(matched - parameters(full)) <= step


def test_the_full_model_is_what_it_was():
    full = ModelConfig()
    assert parameters(replace(full, size="matched")) == parameters(full) == 32_564_335
