"""The memory that a peer and its worker share: one vector on its way there, one on its way back.

A model goes to the learner twice a height and its difference comes back. Copied through pipes, 40 MB cost
each side more processor time than they cost to quantise.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile

import numpy as np

from p2pfed.errors import LocalError
from p2pfed.types.model import Float32Vector
from p2pfed.types.params import MODEL_ELEMENTS_MAX

ITEM_BYTES = 4


def nameless_file() -> int:
    """Return the descriptor of an empty file without a name: in memory on Linux, else a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("p2pfed-weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def reserve(descriptor: int, size: int) -> None:
    """Make room for two vectors of `size` float32.

    Raises:
        MemoryError: There is no room. Found here, since a write to what is not there kills the process.
    """
    assert 1 <= size <= MODEL_ELEMENTS_MAX
    try:
        os.ftruncate(descriptor, 2 * ITEM_BYTES * size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, 2 * ITEM_BYTES * size)
    except OSError as error:
        raise MemoryError(f"no room to hand {size} weights over: {error.strerror}") from None


def seal(descriptor: int, size: int) -> None:
    """Keep the file at the length of two vectors, whoever else holds it.

    Raises:
        LocalError: It has another length.
    """
    if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    if os.fstat(descriptor).st_size != 2 * ITEM_BYTES * size:
        raise LocalError("the shared memory has not the length of the model")


class SharedVectors:
    """Both vectors of a file that was made long enough; float32, shape `(size,)`.

    Attributes:
        view: What the peer writes and the worker only reads.
        reply: What the worker writes; the peer copies it before it looks at it.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        memory = mmap.mmap(descriptor, 2 * ITEM_BYTES * size)
        both: Float32Vector = np.frombuffer(memory, np.float32)
        self.view, self.reply = both[:size], both[size:]
