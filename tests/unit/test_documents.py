"""What README and docs/ name must exist: files, make targets, commands; and there is one version number."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import vsrbench
from vsrbench.__main__ import _parser

DOCUMENTS = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ablations/README.md", "results/README.md")
] + sorted((ROOT / "docs").glob("*.md"))
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_relative_links_resolve(document: Path):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_make_targets_exist(document: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`|\s)make ([a-z-]+)(?=[`\s])", code(document))) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_commands_exist(document: Path):
    commands = _parser()._subparsers._group_actions[0].choices
    assert set(re.findall(r"(?:^|`)vsrbench ([a-z-]+)", code(document), re.MULTILINE)) <= set(commands)


def test_documents_name_targets_and_commands():
    """The patterns above find something."""
    readme = code(ROOT / "README.md")
    assert "make demo" in readme and "vsrbench explain" in readme


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    release = f"## {citation['version']} ({citation['date-released']})"
    assert citation["version"] == vsrbench.__version__
    assert release in (ROOT / "CHANGELOG.md").read_text()
    assert 'version = {attr = "vsrbench.__version__"}' in (ROOT / "pyproject.toml").read_text()


def code(document: Path) -> str:
    """Code blocks and inline code of a Markdown file, one a line."""
    text = document.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))])
