"""Settings are either accepted, and then fit for use, or refused with one line."""

import os
import re
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake import cli

from models import CHOICES, ModelConfig, build_model
from vsrbench.core.config import ROOT, SCHEMAS, TrainingConfig, load_variant, read_yaml
from vsrbench.core.errors import InputError
from vsrbench.orchestration.study import Study, load_study
from vsrbench.training.lr_schedule import learning_rate

DEMO = read_yaml(ROOT / "workflow" / "config" / "demo.yaml")
FULL = read_yaml(ROOT / "ablations" / "full.yaml")
SCHEMA = read_yaml(SCHEMAS / "study.schema.yaml")

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.floats(-1, 2)
    | st.sampled_from([float("nan"), float("inf"), 1e-8, 10**30, "2e-4"])
    | st.text(max_size=3),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=4,
)


def refusal(error: Exception) -> None:
    assert str(error) and "\n" not in str(error)


def changes(fields_of: type, plausible: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    """A few keys of a configuration, each with a plausible value or with any."""
    values = {field.name: plausible.get(field.name, anything) | anything for field in fields(fields_of)}
    keys = st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True)
    return keys.flatmap(lambda keys: st.fixed_dictionaries({key: values[key] for key in keys}))


small = st.integers(1, 3)
model_changes = changes(
    ModelConfig,
    {key: st.sampled_from(choices) for key, choices in CHOICES.items()}
    | dict.fromkeys(("depth", "num_heads", "num_extract_blocks", "num_reconstruct_blocks"), small)
    | {"num_frames": st.sampled_from([1, 3, 7]), "num_feat": st.integers(1, 9)}
    | {"feat_size": st.sampled_from([8, 12, 32]), "patch_size": st.sampled_from([1, 2, 4, 8])}
    | {"flow_num_feat": st.sampled_from([4, 8, 10])},
)
training_changes = changes(
    TrainingConfig,
    {
        "iterations": st.integers(1, 30),
        "schedule": st.sampled_from(["one_cycle", "cosine_restarts"]),
        "periods": st.lists(st.integers(1, 20), max_size=4),
        "restart_weights": st.lists(st.floats(0.1, 1), max_size=4),
        "learning_rate": st.floats(1e-6, 0.5),
        "warmup_iterations": st.integers(0, 40),
    },
)
SMALL_MODEL = FULL["model"] | {
    "num_feat": 4,
    "feat_size": 16,
    "patch_size": 4,
    "depth": 1,
    "num_extract_blocks": 1,
    "num_reconstruct_blocks": 1,
    "num_feed_forward_blocks": 1,
    "flow_num_feat": 4,
}


@settings(max_examples=25)
@given(model_changes)
def test_a_network_that_is_accepted_restores_clips(changed):
    try:
        config = ModelConfig(**SMALL_MODEL | changed)
    except ValueError as error:
        return refusal(error)
    sizes = (config.depth, config.num_feat, config.num_heads, config.flow_num_feat, config.feat_size)
    if max(sizes) > 64 or config.num_frames > 9:
        return None
    with torch.device("meta"):
        edge = config.feat_size
        clip = torch.empty(1, config.num_frames, 3, edge, edge)
        flows = tuple(torch.empty(1, config.num_frames, 2, edge, edge) for _ in range(2))
        assert build_model(config)(clip, flows).shape == (1, config.num_frames, 3, 4 * edge, 4 * edge)


@given(training_changes)
def test_a_recipe_that_is_accepted_has_a_learning_rate_for_every_iteration(changed):
    try:
        config = TrainingConfig(**FULL["training"] | {"iterations": 20} | changed)
    except ValueError as error:
        return refusal(error)
    highest = config.learning_rate * max(1, *config.restart_weights)
    for iteration in range(1, min(config.iterations, 40) + 1):
        assert 0 <= learning_rate(config, iteration) <= highest * (1 + 1e-9)


def of_schema(schema: dict) -> st.SearchStrategy:
    """Values that a part of the study's schema allows; it uses no other keywords."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if isinstance(schema.get("type"), list):
        return st.one_of(*(of_schema(schema | {"type": kind}) for kind in schema["type"]))
    return TYPES[schema["type"]](schema)


def integers(schema: dict) -> st.SearchStrategy:
    factor = schema.get("multipleOf", 1)
    low, high = schema.get("minimum", 0), schema.get("maximum", 10**4)
    return st.integers(-(-low // factor), high // factor).map(lambda value: factor * value)


def arrays(schema: dict) -> st.SearchStrategy:
    unique = (lambda value: value) if schema.get("uniqueItems") else None
    most = schema.get("maxItems", 4)
    return st.lists(
        of_schema(schema["items"]), min_size=schema.get("minItems", 0), max_size=most, unique_by=unique
    )


def strings(schema: dict) -> st.SearchStrategy:
    return st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.text(min_size=1)


def objects(schema: dict) -> st.SearchStrategy:
    parts = {key: of_schema(part) for key, part in schema.get("properties", {}).items()}
    required = {key: parts.pop(key) for key in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=parts)


TYPES = {
    "null": lambda schema: st.none(),
    "boolean": lambda schema: st.booleans(),
    "integer": integers,
    "number": lambda schema: st.floats(0, 1, exclude_min=True),
    "string": strings,
    "array": arrays,
    "object": objects,
}


@st.composite
def studies(draw) -> dict:
    """The demo with some of its settings replaced: by what the schema allows, or by anything."""
    study = dict(DEMO)
    for key in draw(st.lists(st.sampled_from(sorted(SCHEMA["properties"])), max_size=3, unique=True)):
        study[key] = draw(of_schema(SCHEMA["properties"][key]) | anything)
    if draw(st.booleans()):
        ablations = sorted(path.stem for path in (ROOT / "ablations").glob("*.yaml"))
        study["variants"] = ["full", *draw(st.sets(st.sampled_from(ablations))) - {"full"}]
    if draw(st.booleans()):
        study["overrides"] = {"model": DEMO["overrides"]["model"] | draw(model_changes)}
        study["overrides"]["training"] = DEMO["overrides"]["training"] | draw(training_changes)
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty working folder, with what a Snakefile changes in its process put back afterwards."""
    folder = tmp_path_factory.mktemp("studies")
    handler = signal.getsignal(signal.SIGUSR1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", os.environ["PATH"])
        patch.delenv("VSRBENCH_DATA", raising=False)
        patch.delenv("VSRBENCH_LPIPS_WEIGHTS", raising=False)
        yield folder
    signal.signal(signal.SIGUSR1, handler)


def accepted(content: dict) -> Study | None:
    """The study, or None where it is refused in one line."""
    try:
        return load_study(yaml.safe_load(yaml.safe_dump(content, sort_keys=False)))
    except InputError as error:
        return refusal(error)


@given(content=studies())
def test_a_study_is_accepted_or_refused_in_one_line(folder, content):
    study = accepted(content)
    for variant in study.variants.values() if study else ():
        path = folder / "variant.yaml"
        path.write_text(yaml.safe_dump(variant.to_dict(), sort_keys=False))
        assert replace(load_variant(path), changes={}) == replace(variant, changes={})


@settings(max_examples=40)  # a quarter is accepted
@given(content=studies())
def test_the_workflow_plans_what_is_accepted_and_refuses_the_rest_in_one_line(folder, content):
    """Dry runs in this process, where each takes a second; those of a user are in tests/workflow."""
    study = accepted(content)
    Path("study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output), pytest.raises(SystemExit) as end:
        cli.main(["-n", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "study.yaml", "--cores", "2"])
    said = output.getvalue()
    assert "Traceback" not in said
    if study is None:
        assert end.value.code == 1
        assert said.count("WorkflowError") == 1
    else:
        assert end.value.code == 0, said
        assert re.search(r"^train +\d+$", said, re.MULTILINE), said
