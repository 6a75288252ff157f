"""Keep freed memory instead of giving it back: the next height wants the same again.

Each height of a large model takes and frees some hundred MB. glibc gives them back to the system at once,
which clears every page that it hands out anew: up to a third of all processor time of four peers with ten
million values each, on a machine whose host takes back idle memory. One arena for all threads holds less in
reserve. docs/qa/rounds.md has the measurement.
"""

from __future__ import annotations

import ctypes
import sys

from p2pfed.types.params import MIB

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_OPTIONS = (
    (_MMAP_THRESHOLD, 32 * MIB),  # The largest that it takes; arrays beyond are given back.
    (_TRIM_THRESHOLD, 1024 * MIB),
    (_ARENA_MAX, 1),
)


def keep_freed_memory() -> bool:
    """Set up the allocator of this process; answer whether that could be done: only glibc has such knobs."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in _OPTIONS)
