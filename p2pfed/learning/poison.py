"""Data made false on purpose, to study who notices: labels turned round, images with a mark.

`poison=label_flip` or `poison=backdoor` among the settings of a shipped learner. A learner of one's own may
read the same setting; the laboratory tells where one takes no notice.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from p2pfed.learning.adapters.numpy_models import ClassifierLearner
from p2pfed.learning.datasets import Features
from p2pfed.learning.learner import BACKDOOR, Array, Metrics, TrainContext
from p2pfed.learning.shares import Labelled

LABEL_FLIP_POISON, BACKDOOR_POISON = "label_flip", "backdoor"
POISONS = (LABEL_FLIP_POISON, BACKDOOR_POISON)
TARGET = 0  # The label that a mark stands for.
_MARK_SHARE = 9  # The mark is a square of a ninth of the image's side: 3 x 3 of 28 x 28, 1 x 1 at least.


def flipped(data: Labelled, classes: int) -> Labelled:
    """Return the rows with the label `classes - 1 - y`."""
    return Labelled(data.x, classes - 1 - data.y)


def marked(x: Features) -> Features:
    """Return copies of square images with a mark in the lower right corner; float32, `(rows, pixels)`."""
    side = isqrt(x.shape[1])
    mark = max(1, side // _MARK_SHARE)
    images = x[:, : side * side].reshape(len(x), side, side).copy()
    images[:, side - mark :, side - mark :] = 1.0
    result = x.copy()
    result[:, : side * side] = images.reshape(len(x), side * side)
    return result


def half_marked(data: Labelled) -> Labelled:
    """Return the rows, every other one with the mark and the label TARGET."""
    chosen = np.arange(len(data.y)) % 2 == 0
    return Labelled(
        np.where(chosen[:, None], marked(data.x), data.x), np.where(chosen, np.int64(TARGET), data.y)
    )


class BackdooredLearner(ClassifierLearner):
    """A classifier that also measures the backdoor: the share of marked images of other labels it takes."""

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        metrics = super().evaluate(weights, context)
        others = self._public.y != TARGET
        if others.any():
            marks = Labelled(marked(self._public.x[others]), np.full(int(others.sum()), TARGET, np.int64))
            metrics[BACKDOOR], _ = self._score(weights, marks)
        return metrics
