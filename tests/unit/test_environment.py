"""environment.yml, pyproject.toml and requirements.lock name the same packages and versions."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from workflow_copy import ROOT


def locked() -> dict[str, set[str]]:
    """Package to its pinned versions (more than one where they depend on the Python version)."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            versions.setdefault(name, set()).add(str(requirement.specifier).removeprefix("=="))
    return versions


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_lock_file_satisfies_pyproject(requirement):
    versions = locked()[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions)


def test_conda_environment_names_the_locked_versions():
    pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    pinned = {
        canonicalize_name(Requirement(text).name): Requirement(text) for text in pip if re.match(r"\w", text)
    }
    assert set(pinned) == {canonicalize_name(requirement.name) for requirement in declared()}
    for name, requirement in pinned.items():
        version = str(requirement.specifier).removeprefix("==")
        assert version in locked()[name], f"environment.yml: {name}"


def test_torch_and_torchvision_are_a_pair():
    """torchvision's wheels fit one release of torch; the pair is what makes lpips importable."""
    assert locked()["torch"] == {"2.15.0"}
    assert locked()["torchvision"] == {"0.29.2"}
