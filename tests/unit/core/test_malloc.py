"""Freed memory is reused instead of being requested from the system again."""

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
import torch
from vsrbench.core.malloc import retain_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: huge pages are few, whoever keeps them
if sys.argv[1] == "keep":
    retain_freed_memory()
for _ in range(20):
    torch.zeros(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(choice: str) -> int:
    command = [sys.executable, "-c", FAULTS, choice]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc is what is set")
def test_freed_memory_is_kept():
    pages = 2**26 // 4096
    assert page_faults("default") - page_faults("keep") > 10 * pages
