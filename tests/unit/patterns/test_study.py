"""A study file of k-patterns is accepted as shipped, and refused with the key that is wrong."""

import copy

import pytest
import yaml
from conftest import ROOT

from vsrbench.core.errors import InputError
from vsrbench.patterns.study import load_pattern_study

SHIPPED = yaml.safe_load((ROOT / "workflow" / "config" / "k_patterns.yaml").read_text())


def test_the_shipped_study_spans_what_the_theorem_is_about():
    study = load_pattern_study(SHIPPED)
    assert min(study.sizes()) == 16 and max(study.sizes()) >= 256
    assert min(study.settings["k"]) == 2 and max(study.settings["k"]) >= 8
    assert study.runs()[0] == "runs/convolutional/sgd/n_16.csv"
    assert len(study.runs()) == len(set(study.runs())) == 2 * (3 + 3 + 2 + 2 + 2)
    assert study.seeds("stcsa") == [1, 2, 3]
    assert study.k("convolutional") == study.settings["k"] and study.k("fcsa") == [2, 3, 5]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("layers", "fcsa", "n"), [18], "k_patterns.layers.fcsa.n: .*multiples of 4"),
        (
            ("layers", "convolutional", "n"),
            [6],
            "k_patterns.layers.convolutional.n: 6 bits hold no pattern of 8",
        ),
        (("layers", "convolutional", "seeds"), [101, 2], "convolutional.seeds: 101 is one of tuning_seeds"),
        (
            ("layers", "lstm"),
            {"n": [16], "seeds": [1, 2]},
            "layers.lstm: unknown layer 'lstm'; expected one of conv",
        ),
        (("layers", "fcsa", "k"), [2, 4], "k_patterns.layers.fcsa.k: 4 is not one of k_patterns.k"),
        (("functions",), ["majority"], "k_patterns.functions.0: 'majority' is not one of"),
        (("learning_rates", "sgd"), [0], "k_patterns.learning_rates.sgd.0: 0 is less than or equal"),
        (("epochs",), 3, "'epochs' was unexpected"),
    ],
)
def test_faults_are_refused_in_one_line(place, value, message):
    config = copy.deepcopy(SHIPPED)
    part = config["k_patterns"]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(InputError, match=message) as error:
        load_pattern_study(config)
    assert "\n" not in str(error.value)
