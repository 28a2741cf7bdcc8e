"""The paper's claims, and the comparison of two variants that tests each (`ablations/claims.yaml`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrbench.core.config import CLAIMS, STUDIES, check_schema, read_yaml
from vsrbench.core.errors import InputError, check_known
from vsrbench.core.metric_table import METRICS

STUDY_LIST = STUDIES / "claims.yaml"


@dataclass(frozen=True)
class Claim:
    """One claim, and the studies that test it."""

    name: str
    claim: str  # in one sentence
    section: str  # of the paper
    variant: str
    reference: str  # the variant that it is compared with
    metric: str
    expected: str  # of the variant against the reference: below, above or at_least
    margin: float  # difference that is regarded as none, in the metric's unit
    tested_in: dict[str, list[str]]  # data sets, by study


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read the claims in the order of the file; InputError names file and key of what is wrong there."""
    data = read_yaml(path)
    check_schema(data, "claims", _shown(path))
    claims = [Claim(name=name, **facts) for name, facts in data["claims"].items()]
    for claim in claims:
        where = f"{_shown(path)}: claims.{claim.name}"
        check_known("metric", claim.metric, METRICS, f"{where}.metric")
        if claim.variant == claim.reference:
            raise InputError(f"{where}.reference: {claim.reference} is the variant itself; name another")
    return claims


def claims_of(study: str, path: Path = CLAIMS) -> list[Claim]:
    """List the claims that a study tests."""
    return [claim for claim in read_claims(path) if study in claim.tested_in]


def check_tested(study: str, variants: Sequence[str], datasets: Sequence[str], path: Path = CLAIMS) -> None:
    """Raise InputError where a claim names a variant or data set that the study which tests it lacks."""
    for claim in claims_of(study, path):
        where = f"{_shown(path)}: claims.{claim.name}"
        for key in ("variant", "reference"):
            check_known(f"variant of study {study}", getattr(claim, key), variants, f"{where}.{key}")
        for dataset in claim.tested_in[study]:
            check_known(f"data set of study {study}", dataset, datasets, f"{where}.tested_in.{study}")


def read_studies(path: Path = STUDY_LIST, claims: Path = CLAIMS) -> list[str]:
    """List the studies that settle the claims, in the order in which they run.

    Raises InputError for a study without a file, and where a claim is tested in a study that is not listed.
    """
    data: dict[str, Any] = read_yaml(path)
    check_schema(data, "claims_study", _shown(path))
    studies: list[str] = data["studies"]
    known = [file.stem for file in sorted(path.parent.glob("*.yaml")) if file != path]
    for study in studies:
        check_known("study", study, known, f"{_shown(path)}: studies")
    for claim in read_claims(claims):
        for study in claim.tested_in:
            check_known("study", study, studies, f"{_shown(claims)}: claims.{claim.name}.tested_in")
    return studies


def _shown(path: Path) -> str:
    """Folder and name, as messages give them."""
    return f"{path.parent.name}/{path.name}"
