"""Settings of a learner: texts that a person typed, read as numbers or refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from p2pfed.learning.learner import LearnerError


def whole(settings: Mapping[str, str], name: str, low: int, high: int) -> int:
    """Return the whole number called `name`; raises LearnerError where it is none from `low` to `high`."""
    text = settings[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise LearnerError(f"{name}={text[:40]} must be a whole number from {low} to {high}")
    return int(text)


def positive(settings: Mapping[str, str], name: str, *, or_zero: bool = False) -> float:
    """Return the number above 0 called `name`; raises LearnerError where it is none."""
    try:
        value = float(settings[name])
    except ValueError:
        value = -1.0
    if not (isfinite(value) and (value > 0 or (or_zero and value == 0))):
        bound = "of 0 or more" if or_zero else "above 0"
        raise LearnerError(f"{name}={settings[name][:40]} must be a number {bound}")
    return value
