"""One learner held to its contract: what it returns is checked before anything leaves this file."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from math import isfinite

import numpy as np
from msgspec import Struct

from p2pfed.errors import P2PFedError
from p2pfed.learning.delta import describe, difference, flatten, unflatten
from p2pfed.learning.learner import (
    AppContext,
    Array,
    Learner,
    LearnerError,
    Metrics,
    TrainResult,
    train_context,
)
from p2pfed.primitives import codec
from p2pfed.primitives.digest import DIGEST_BYTES
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.model import Float32Vector, Manifest, verify_manifest
from p2pfed.types.params import GENESIS_BYTES_MAX
from p2pfed.types.update import EXAMPLES_MAX

METRICS_MAX = 128  # Figures of one turn, those of classes included; a line of the log shows a handful.
METRIC_NAME_MAX = 64
MANIFEST_BYTES_MAX = GENESIS_BYTES_MAX // 2  # The other half holds the participants and the exponents.


class Trained(Struct, frozen=True, eq=False):
    """A turn's training: the float32 difference to the view, shape `(d,)`, always finite."""

    delta: Float32Vector
    examples: int
    metrics: Metrics


class Session:
    """A learner with the manifest of its arrays and the arrays that never leave this peer.

    Raises (every method):
        LearnerError: The learner broke the contract; one sentence that names what. An exception of the
            learner's own passes through.
    """

    def __init__(self, learner: Learner, app: AppContext) -> None:
        arrays = _as_arrays(learner.weights())
        offered = getattr(learner, "manifest", None)
        self.app = app
        self.manifest: Manifest = _checked_manifest(describe(arrays) if offered is None else offered())
        self.initial: Float32Vector = flatten(arrays, self.manifest)
        self.evaluation_root: bytes = getattr(learner, "evaluation_root", EMPTY_ROOT)
        if not isinstance(self.evaluation_root, bytes) or len(self.evaluation_root) != DIGEST_BYTES:
            raise LearnerError(f"evaluation_root must be {DIGEST_BYTES} bytes")
        self._learner = learner
        self._local = arrays

    def train(self, view: Float32Vector, height: int, train_index: int) -> Trained:
        """Train from the agreed `view`, float32 of shape `(d,)`, and return the difference to it."""
        arrays = unflatten(view, self.manifest, self._local)
        result = self._learner.train(arrays, train_context(self.app, height, train_index))
        if not isinstance(result, TrainResult):
            raise LearnerError(f"train() returned {type(result).__name__}, not TrainResult")
        returned = _as_arrays(result.weights)
        delta = difference(returned, view, self.manifest)
        examples = _checked_examples(result.examples)
        self._keep_local(returned)
        return Trained(delta, examples, checked_metrics(result.metrics))

    def evaluate(self, view: Float32Vector, height: int, train_index: int) -> Metrics:
        """Return the learner's figures for the agreed `view`, float32 of shape `(d,)`."""
        arrays = unflatten(view, self.manifest, self._local)
        return checked_metrics(self._learner.evaluate(arrays, train_context(self.app, height, train_index)))

    def _keep_local(self, returned: list[Array]) -> None:
        """Remember counters and the like for the next turn; shared arrays are replaced by the agreed ones."""
        for position, spec in enumerate(self.manifest.arrays):
            if spec.kind == "local":
                self._local[position] = returned[position].copy()


def checked_metrics(metrics: object) -> Metrics:
    """Return the finite numbers among `metrics` as plain Python values; a NaN is left out.

    Raises:
        LearnerError: No mapping of short names to numbers, or more than METRICS_MAX of them.
    """
    if not isinstance(metrics, Mapping) or len(metrics) > METRICS_MAX:
        raise LearnerError(f"metrics must be a dict of at most {METRICS_MAX} names and numbers")
    plain: Metrics = {}
    for name, value in metrics.items():
        if not isinstance(name, str) or not 1 <= len(name) <= METRIC_NAME_MAX:
            raise LearnerError(f"a metric's name must be a text of 1 to {METRIC_NAME_MAX} characters")
        if not isinstance(value, (bool, int, float, np.integer, np.floating)):
            raise LearnerError(f"the metric {name} is {type(value).__name__}, not a number")
        try:
            number = float(value)
        except OverflowError:
            continue
        if isfinite(number):
            # Numbers above 2^53 would not survive JSON readers as integers, so they become floats.
            plain[name] = (
                int(value) if isinstance(value, (int, np.integer)) and abs(number) < 2**53 else number
            )
    return plain


def _checked_manifest(manifest: object) -> Manifest:
    if not isinstance(manifest, Manifest):
        raise LearnerError(f"manifest() returned {type(manifest).__name__}, not p2pfed.types.model.Manifest")
    try:
        # Names, shapes and rank have limits that only a decoder checks.
        checked = codec.decode(codec.encode(manifest), Manifest, MANIFEST_BYTES_MAX)
        verify_manifest(checked)
    except P2PFedError as error:
        raise LearnerError(f"genesis can't hold these arrays: {error}") from None
    return checked


def _checked_examples(examples: object) -> int:
    try:
        count = operator.index(examples)  # type: ignore[arg-type]
    except TypeError:
        raise LearnerError(f"examples is {type(examples).__name__}, not a whole number") from None
    if count == 0:
        raise LearnerError("no examples to train on")
    if not 0 < count <= EXAMPLES_MAX:
        raise LearnerError(f"examples is {count}; 1 to {EXAMPLES_MAX} are allowed")
    return count


def _as_arrays(weights: object) -> list[Array]:
    if not isinstance(weights, (list, tuple)):
        raise LearnerError(f"weights must be a list of arrays, not {type(weights).__name__}")
    return [np.asarray(array) for array in weights]
