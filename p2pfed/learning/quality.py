"""A learner's figures of a model as a word on quality: whole numbers, by class where it has any."""

from __future__ import annotations

from p2pfed.learning.learner import ACCURACY_LOCAL, ACCURACY_PUBLIC, CLASS_PREFIX, SCORE, Metrics
from p2pfed.types.quality import CLASS_ONE, CLASS_UNKNOWN, QUALITY_ONE, QUALITY_PACE


def quality_of(figures: Metrics, calm: int = CLASS_UNKNOWN) -> tuple[int, bytes] | None:
    """Return score and classes of `types.quality`; None where the learner gave no figure to judge by.

    The score is the first of `score`, `acc(local)` and `acc(public)`, clipped to 0 and 1; the share of class
    N that is named right is `class.N`, below QUALITY_PACE.

    Args:
        calm: What `learning.pace` says of the model's step, for the place QUALITY_PACE.
    """
    name = next((name for name in (SCORE, ACCURACY_LOCAL, ACCURACY_PUBLIC) if name in figures), None)
    if name is None:
        return None
    classes = bytearray()
    for place in range(QUALITY_PACE):
        share = figures.get(f"{CLASS_PREFIX}{place}")
        classes.append(CLASS_UNKNOWN if share is None else int(_clip(share) * CLASS_ONE))
    classes.append(calm)
    while classes and classes[-1] == CLASS_UNKNOWN:
        classes.pop()
    return int(_clip(figures[name]) * QUALITY_ONE), bytes(classes)


def shown(figures: Metrics) -> Metrics:
    """Return the figures that people want to read: without those of single classes."""
    return {name: value for name, value in figures.items() if not name.startswith(CLASS_PREFIX)}


def _clip(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
