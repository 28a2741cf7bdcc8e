"""What every test may use: where the repository is, and the data that lies beside some checkouts."""

import os
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# `make test` has a worker for each core. A second thread makes networks this small slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin stall on busy cores

# The same examples in every run: a failure can be repeated, and no run fails by chance.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("repeatable")


class ByFile(LoadFileScheduling):
    """Give a worker of pytest-xdist whole files, and one of them all that share the finished study."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/workflow/finished/"):
            return "finished study"
        return super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log) -> ByFile:
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter) -> None:
    """Say what the skipped tests lacked, most frequent first."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} not run: {reason}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips (Vid4 "city" and others); the test is skipped where they are not at hand."""
    folder = Path(os.environ.get("VSRBENCH_DATA") or SHARED / "data")
    if not (folder / "Vid4").is_dir():
        pytest.skip(f"no real clips in {folder}; set VSRBENCH_DATA to a folder that holds Vid4/")
    return folder


@pytest.fixture(scope="session")
def lpips_weights() -> Path:
    """Folder of LPIPS backbones; the test is skipped where they are not at hand."""
    folder = Path(os.environ.get("VSRBENCH_LPIPS_WEIGHTS") or SHARED / "weights")
    if not (folder / "alexnet_features.pth").is_file():
        pytest.skip(f"no LPIPS backbones in {folder}; set VSRBENCH_LPIPS_WEIGHTS")
    return folder
