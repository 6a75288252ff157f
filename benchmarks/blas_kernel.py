"""Which kernel OpenBLAS chose: it decides speeds, and the bits of floats."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np


def kernel_in_use() -> str:
    """Return the name of the kernel that numpy's own OpenBLAS chose; what was asked for may not exist."""
    for library in sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*")):
        name = getattr(ctypes.CDLL(str(library)), "scipy_openblas_get_corename64_", None)
        if name is not None:
            name.restype = ctypes.c_char_p
            return str(name().decode())
    return "unknown"
