"""The tests in this folder share one copy of the workflow in which the tiny study is finished."""

import pytest
from workflow_copy import Workflow, copy_of_the_workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The tiny study, run through the whole DAG; what a test edits there it puts back."""
    workflow = copy_of_the_workflow(tmp_path_factory.mktemp("finished"))
    workflow.study["reach"] = True
    result = workflow.snakemake()
    assert result.returncode == 0, result.stdout
    return workflow
