"""Every test here gets its own copy of the workflow."""

from pathlib import Path

import pytest
from workflow_copy import Workflow, copy_of_the_workflow


def pytest_collection_modifyitems(items) -> None:
    """These first: of several workers, none is then left with the longest files at the end."""
    items.sort(key=lambda item: not item.path.is_relative_to(Path(__file__).parent))


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    return copy_of_the_workflow(tmp_path)
