"""Every test here gets its own copy of the workflow."""

import pytest
from workflow_copy import Workflow, copy_of_the_workflow


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    return copy_of_the_workflow(tmp_path)
