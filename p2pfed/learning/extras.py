"""Libraries that a learner may need and p2pfed doesn't install: each an extra with one command."""

from __future__ import annotations

import sys

from p2pfed.learning.learner import LearnerError

EXTRAS = {
    "torch": "torch",
    "peft": "torch",
    "sklearn": "sklearn",
    "jax": "jax",
    "flax": "jax",
    "optax": "jax",
    "flwr": "flower",
}  # By the name that is imported.


def missing(error: ModuleNotFoundError) -> LearnerError | None:
    """Return the sentence for a library of an extra that is not there; None for any other module."""
    library = (error.name or "").partition(".")[0]
    if library not in EXTRAS:
        return None
    return LearnerError(
        f"{library} is not installed for {sys.executable}; call `pip install 'p2pfed[{EXTRAS[library]}]'`"
    )
