"""One suite over every file in ablations/: a new ablation is tested by existing."""

import re

import pytest
import torch

from models import build_model
from vsrbench.core.config import ABLATIONS, read_yaml, resolve_variant, variant_names

FILES = {name: read_yaml(ABLATIONS / f"{name}.yaml") for name in variant_names()}
NAMES = [name for name, content in FILES.items() if "network" not in content]
OTHERS = [name for name, content in FILES.items() if "network" in content]  # networks of their own
SMALL = {
    "study": "suite",
    "train_on": "photo_motion",
    "degradation": "BI",
    "overrides": {
        "model": dict(
            num_feat=8,
            feat_size=32,
            depth=2,
            patch_size=8,
            num_extract_blocks=1,
            num_reconstruct_blocks=1,
            num_feed_forward_blocks=1,
            flow_num_feat=16,
        )
    },
}
SMALL["networks"] = {"basicvsr": {"num_feat": 8, "num_blocks": 1}}
PUBLISHED = {"study": "suite", "train_on": "reds", "degradation": "BI"}

# The parts of the network that each choice is about. Any other key may touch anything.
PARTS = {
    "attention": r"blocks\.\d+\.(norm1|attention)\.",
    "attention_reach": r"blocks\.\d+\.attention\.",
    "feed_forward": r"blocks\.\d+\.feed_forward\.|spynet\.",
    "flow": r"spynet\.",
    "positional_encoding": r"positional_encoding\.",
    "norm": r"blocks\.\d+\.norm\d\.",
    "size": r"(?!)",  # of the layer that is changed besides
}

# Parameters at the published size, each by hand: D = 64 * 8 * 8 = 4096 values a token, 5 blocks.
PARAMETERS = {
    "full": 32_564_335,
    "fcsa": 32_564_335 + 5 * (4 * 4096**2 - 75_136),
    "token_wise_ffn": 32_564_335 + 5 * (2 * 4096**2 + 2 * 4096 - 4_516_928) - 1_440_300,
    "fcsa_token_wise": 32_564_335 + 5 * (6 * 4096**2 + 2 * 4096 - 75_136 - 4_516_928) - 1_440_300,
    "unaligned_ffn": 32_564_335 - 1_440_300,
    # Projections to 5 values; residual stacks of 66 channels; 586 hidden units.
    "fcsa_matched": 32_564_335 + 5 * (4 * 4096 * 5 - 75_136),
    "unaligned_ffn_matched": 32_564_335
    - 1_440_300
    + 5 * (2 * (9 * 67 * 66 + 66 + 60 * (9 * 66**2 + 66)) + 2 * 66 * 64 + 64 - 4_516_928),
    "token_wise_ffn_matched": 32_564_335 - 1_440_300 + 5 * (2 * 4096 * 586 + 586 + 4096 - 4_516_928),
    "oracle_flow": 32_564_335 - 1_440_300,
    "channel_norm": 32_564_335 - 10 * 2 * (64**3 - 64),
    "no_position_information": 32_564_335 - 10 * 2 * (64**3 - 64),
    "no_positional_encoding": 32_564_335,
    "three_frames": 32_564_335,
    "bfloat16": 32_564_335,
    "patch_4": 32_564_335,
    "attention_within_frame": 32_564_335,
    "attention_within_place": 32_564_335,
    "attention_to_neighbours": 32_564_335,
    "patch_16": 32_564_335,
    "tf32": 32_564_335,
    "one_frame": 32_564_335,
    "seven_frames": 32_564_335,
    "positional_encoding_as_described": 32_564_335,
    "learned_positional_encoding": 32_564_335 + 5 * 64**3,
    "basicvsr": 6_291_311,
    "no_attention": 32_564_335 - 5 * (75_136 + 2 * 64**3),
    "no_attention_token_wise": 32_564_335
    + 5 * (2 * 4096**2 + 2 * 4096 - 4_516_928)
    - 1_440_300
    - 5 * (75_136 + 2 * 64**3),
}


@pytest.fixture(scope="module")
def full():
    return resolve_variant(SMALL, "full")


@pytest.fixture(params=NAMES)
def variant(request):
    return resolve_variant(SMALL, request.param)


def clip_and_flows(config):
    generator = torch.Generator().manual_seed(0)
    shape = (1, config.num_frames, 3, config.feat_size, config.feat_size)
    clip = torch.rand(shape, generator=generator)
    return clip, tuple(torch.randn_like(clip[:, :, :2]) for _ in range(2))


@pytest.mark.parametrize("name", NAMES + OTHERS)
def test_restores_every_frame_and_trains_every_parameter(name):
    variant = resolve_variant(SMALL, name)
    torch.manual_seed(0)
    model = build_model(variant.model)
    clip, flows = clip_and_flows(variant.model)
    restored = model(clip, flows)
    assert restored.shape == (*clip.shape[:3], 4 * clip.shape[3], 4 * clip.shape[4])
    (restored - 0.5).abs().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_differs_from_full_in_what_it_states_only(variant, full):
    before, after = full.to_dict(), variant.to_dict()
    changed = {
        section: {key: value for key, value in after[section].items() if value != before[section][key]}
        for section in ("model", "training")
    }
    assert {section: changes for section, changes in changed.items() if changes} == variant.changes
    assert bool(variant.changes) == (variant.variant != "full")
    assert variant.title and variant.question.endswith("?")


def test_touches_no_other_part_of_the_network(variant, full):
    stated = variant.changes.get("model", {})
    if stated.keys() - PARTS.keys():
        pytest.skip("changes sizes, which may touch every part")
    before, after = (
        {name: tuple(tensor.shape) for name, tensor in build_model(model).state_dict().items()}
        for model in (full.model, variant.model)
    )
    different = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    concerned = re.compile("|".join(PARTS[key] for key in stated) or r"(?!)")
    assert not [name for name in different if not concerned.match(name)]


def restore_centre(model, clip, flows):
    """The clip's centre frame, from as many frames around it as the network takes."""
    spare = (clip.shape[1] - model.config.num_frames) // 2
    window = slice(spare, spare + model.config.num_frames)
    restored = model(clip[:, window], tuple(flow[:, window] for flow in flows))
    return restored[:, restored.shape[1] // 2]


def test_differs_from_full_in_its_result(variant, full):
    """With the same weights wherever it has them; an option that changes nothing is no ablation."""
    if not variant.changes.get("model"):
        pytest.skip("the network is the full one")
    torch.manual_seed(0)
    first = build_model(full.model)
    second = build_model(variant.model)
    own, shared = second.state_dict(), first.state_dict()
    second.load_state_dict(
        {
            name: shared[name] if name in shared and shared[name].shape == own[name].shape else own[name]
            for name in own
        }
    )
    clip, flows = clip_and_flows(full.model)
    with torch.no_grad():
        for model in (first, second):
            for name, parameter in model.named_parameters():
                if "norm" in name:  # they start as ones and zeros, alike whatever their shape
                    parameter.add_(0.1 * torch.randn_like(parameter))
        assert not torch.allclose(
            *(restore_centre(model, clip, flows) for model in (first, second)), atol=1e-4
        )


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_trained_like_the_full_one(name, full):
    """But for what it states; and no other network has its name."""
    variant = resolve_variant(SMALL, name)
    changed = {
        key: value
        for key, value in variant.to_dict()["training"].items()
        if value != full.to_dict()["training"][key]
    }
    assert changed == FILES[name].get("changes", {}).get("training", {})
    assert variant.changes["model"]["network"] == FILES[name]["network"]
    assert variant.model.feat_size == full.model.feat_size
    assert variant.title and variant.question.endswith("?")


@pytest.mark.parametrize("name", NAMES + OTHERS)
def test_parameters_at_the_published_size(name):
    if name not in PARAMETERS:
        pytest.skip(f"no count by hand for {name}")
    with torch.device("meta"):
        model = build_model(resolve_variant(PUBLISHED, name).model)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
