"""Which package may import which, and that every module named by a string exists.

`ALLOWED` is the one statement of the directions; each package may also import itself and `models`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

from vsrbench.__main__ import _parser
from vsrbench.core.provenance import _NEUTRAL, STEPS

LIBRARY = ROOT / "workflow" / "vsrbench"

ALLOWED = {
    "core": set(),
    "data": {"core"},
    "results": {"core"},
    "training": {"core", "data"},  # an edit in any other package must not repeat a training
    "evaluation": {"core", "data", "results"},
    "orchestration": {"core", "data", "training", "evaluation", "results"},
    "report": {"core", "data", "results", "evaluation"},
    "tracking": {"core", "results"},
    "patterns": {"core", "report"},
    "benchmarks": {"core", "data", "training", "evaluation"},
}


def imported_modules(path: Path) -> Iterator[str]:
    """Modules that the source in `path` imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_packages(package: str) -> set[str]:
    """The other packages of the library that the modules of one import."""
    modules = [name for path in (LIBRARY / package).rglob("*.py") for name in imported_modules(path)]
    return {name.split(".")[1] for name in modules if name.startswith("vsrbench.")} - {package}


def test_every_package_has_its_directions():
    assert {path.parent.name for path in LIBRARY.glob("*/__init__.py")} == set(ALLOWED)
    assert {path.name for path in LIBRARY.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    assert imported_packages(package) <= ALLOWED[package]


def test_directions_have_no_cycle():
    left = dict(ALLOWED)
    while left:
        lowest = [package for package, imports in left.items() if not imports & set(left)]
        assert lowest, f"a cycle among {sorted(left)}"
        for package in lowest:
            del left[package]


def test_models_know_nothing_of_the_library():
    imports = [name for path in (ROOT / "models").glob("*.py") for name in imported_modules(path)]
    assert not [name for name in imports if name.startswith("vsrbench")]


def test_no_network_is_asked_for_by_name():
    """But for what looks into attention (its export, its reach, k-patterns), and the plain procedure."""
    known = {"evaluation/inspect_network.py", "evaluation/reach.py", "patterns/layers.py", "benchmarks"}
    for path in LIBRARY.rglob("*.py"):
        place = path.relative_to(LIBRARY).as_posix()
        if place in known or place.split("/")[0] in known:
            continue
        names = {name.rpartition(".")[2] for name in imported_modules(path) if name.startswith("models.")}
        assert not names & {"VSRTransformer", "BasicVSR", "OwnNetwork", "ModelConfig", "BasicVSRConfig"}, (
            place
        )
        assert "basicvsr" not in path.read_text(), place


def test_library_does_not_import_snakemake():
    imports = [name for path in LIBRARY.rglob("*.py") for name in imported_modules(path)]
    assert not [name for name in imports if name.startswith("snakemake.")]


@pytest.mark.parametrize("package", ALLOWED)
def test_package_says_in_one_line_what_it_is_for(package):
    tree = ast.parse((LIBRARY / package / "__init__.py").read_text())
    assert ast.get_docstring(tree).count("\n") == 0 and len(tree.body) == 1


def test_unit_tests_mirror_the_packages():
    folders = {path.name for path in (ROOT / "tests" / "unit").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == {*ALLOWED, "models"}


def test_modules_behind_the_code_digests_exist():
    missing = [name for name in {*STEPS.values(), *_NEUTRAL} if find_spec(name) is None]
    assert not missing


def test_commands_resolve():
    commands = _parser()._subparsers._group_actions[0].choices
    assert len(commands) > 10
    for name, parser in commands.items():
        assert callable(parser.get_default("command").resolve()), name


def test_snakefile_imports_are_light():
    """Every start of Snakemake, on every node, pays for what the rules import."""
    lines = (ROOT / "workflow" / "rules" / "common.smk").read_text().splitlines()
    imports = [line for line in lines if line.startswith("from vsrbench")]
    assert len(imports) > 5
    code = "\n".join([*imports, "import sys", "print(*sys.modules)"])
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "matplotlib", "scipy", "cv2"} & set(modules.stdout.split())
