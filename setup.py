"""Build the optional kernel; all else is in pyproject.toml."""

import sys

from setuptools import Extension, setup

# Without a compiler, or Python.h, the installation goes on: numpy computes the same integers.
GRAM = Extension(
    "p2pfed.aggregation._gram",
    ["p2pfed/aggregation/_gram.c"],
    extra_compile_args=["-O3"],
    py_limited_api=True,
    optional=True,
)

setup(
    ext_modules=[GRAM] if sys.byteorder == "little" else [],  # Rows are little-endian, as they travel.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
