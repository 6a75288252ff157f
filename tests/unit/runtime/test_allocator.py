from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import numpy as np
from p2pfed.runtime.allocator import keep_freed_memory
from p2pfed.types.params import MIB
assert sys.argv[1] == "as it is" or keep_freed_memory()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(20 * MIB, np.uint8) for _ in range(3)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[1:]))
"""


def _faults(how: str) -> int:
    """Return how many pages the system had to give for memory that the process had freed before."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these knobs")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    assert _faults("as it is") > 20
    assert _faults("kept") < 10
