"""Every test here gets its own copy of the workflow, or shares one in which the tiny study is finished."""

from pathlib import Path

import pytest
from workflow_copy import Workflow, copy_of_the_workflow


def pytest_collection_modifyitems(items) -> None:
    """These first: of several workers, none is then left with the longest files at the end."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    return copy_of_the_workflow(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The tiny study, run through the whole DAG; what a test edits there it puts back."""
    workflow = copy_of_the_workflow(tmp_path_factory.mktemp("finished"))
    result = workflow.snakemake()
    assert result.returncode == 0, result.stdout
    return workflow
