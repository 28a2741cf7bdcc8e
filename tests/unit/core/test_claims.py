"""The claims: the shipped file fits the studies, and every mistake in one is a single line."""

import copy

import pytest
import yaml

from vsrbench.core.claims import STUDY_LIST, check_tested, claims_of, read_claims, read_studies
from vsrbench.core.config import CLAIMS, STUDIES, read_yaml, variant_names
from vsrbench.core.errors import InputError

VALID = {
    "claims": {
        "locality": {
            "claim": "Locality helps.",
            "section": "4.2",
            "variant": "fcsa",
            "reference": "full",
            "metric": "psnr_rgb",
            "expected": "below",
            "margin": 0.05,
            "tested_in": {"aliased": ["photo_motion"]},
        }
    }
}


def write(folder, **changes):
    """A claims file whose one claim has these changes; None removes a key."""
    data = copy.deepcopy(VALID)
    claim = data["claims"]["locality"]
    claim |= changes
    for key in [key for key, value in claim.items() if value is None]:
        del claim[key]
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_every_study_has_what_the_shipped_claims_compare():
    assert len(read_claims()) >= 7
    for study in read_studies():
        settings = read_yaml(STUDIES / f"{study}.yaml")
        assert claims_of(study)
        assert len(settings["seeds"]) >= 5 and settings["budgets"] and settings["tune"]
        check_tested(study, settings["variants"], settings["evaluate_on"])


def test_claims_are_no_variant():
    assert CLAIMS.is_file() and "claims" not in variant_names()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"section": None}, "claims.locality: 'section' is a required property"),
        ({"expected": "under"}, "claims.locality.expected: 'under' is not one of"),
        (
            {"margin": "5e-2"},
            "claims.locality.margin: '5e-2' is not of type 'number'; YAML reads that as a string",
        ),
        ({"tested_in": {}}, "claims.locality.tested_in: {} should be non-empty"),
        ({"weight": 1}, "claims.locality: Additional properties are not allowed"),
        ({"metric": "psnr"}, "claims.locality.metric: unknown metric 'psnr'; expected one of psnr_rgb"),
        ({"variant": "full"}, "claims.locality.reference: full is the variant itself; name another"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_line(tmp_path, changes, said):
    path = write(tmp_path, **changes)
    with pytest.raises(InputError) as refused:
        read_claims(path)
    assert f"{tmp_path.name}/claims.yaml: {said}" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("variants", "datasets", "said"),
    [
        (
            ["full"],
            ["photo_motion"],
            "locality.variant: unknown variant of study aliased 'fcsa'; expected one of full",
        ),
        (["fcsa"], ["photo_motion"], "locality.reference: unknown variant of study aliased 'full'"),
        (
            ["full", "fcsa"],
            ["vid4"],
            "locality.tested_in.aliased: unknown data set of study aliased 'photo_motion'",
        ),
    ],
)
def test_a_study_must_have_what_its_claims_compare(tmp_path, variants, datasets, said):
    path = write(tmp_path)
    with pytest.raises(InputError, match=said):
        check_tested("aliased", variants, datasets, path)
    check_tested("another", variants, datasets, path)


def test_studies_are_listed(tmp_path):
    listed = tmp_path / STUDY_LIST.name
    for study in ("aliased", "filtered"):
        (tmp_path / f"{study}.yaml").touch()
    claims = tmp_path / "ablations"
    claims.mkdir()
    path = write(claims)
    for studies, said in (
        (["filtered"], "unknown study 'aliased'; expected one of filtered"),
        (["other"], "'other'"),
    ):
        listed.write_text(yaml.safe_dump({"studies": studies}))
        with pytest.raises(InputError, match=said):
            read_studies(listed, path)
    listed.write_text(yaml.safe_dump({"studies": ["filtered", "aliased"]}))
    assert read_studies(listed, path) == ["filtered", "aliased"]
