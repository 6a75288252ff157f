"""With the rule `mean` a height is federated averaging, up to a stated number of quantisation units."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from p2pfed.aggregation.engine import merge
from p2pfed.privacy.mechanism import encode_model, initial_exponents, model_view, quantise
from p2pfed.types.model import ArraySpec, Manifest, ModelState

Floats = NDArray[np.float64]

FEATURES, CLASSES, RATE = 11, 4, 0.5
EVEN = [25, 40, 17, 31, 120, 33, 64]
UNEVEN = [5, 40, 17, 1, 120, 33, 64]  # One example alone has a gradient many times that of the others.
MANIFEST = Manifest(
    (
        ArraySpec("weight", (FEATURES, CLASSES), "float32", "trained", False),
        ArraySpec("bias", (CLASSES,), "float32", "trained", False),
    )
)


def gradient(weights: Floats, x: Floats, y: NDArray[np.int64]) -> Floats:
    """Return the gradient of the mean cross-entropy of softmax regression over all of `x`."""
    matrix, bias = weights[:-CLASSES].reshape(FEATURES, CLASSES), weights[-CLASSES:]
    scores = x @ matrix + bias
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shares[np.arange(len(y)), y] -= 1
    return np.concatenate([(x.T @ shares).ravel(), shares.sum(0)]) / len(y)


def exact(model: ModelState) -> Floats:
    """Return the weights without the rounding of the learner's float32 view."""
    result = model.weights.astype(np.float64)
    for group, exponent in zip(MANIFEST.groups, model.model_exponents.tolist(), strict=True):
        result[group.slice] *= 2.0**-exponent
    return result


def bound(before: ModelState, after: ModelState, n: int) -> Floats:
    """Return the bound of docs/spec/numerics.md (N8) for each coordinate, where no element saturates."""
    result = np.empty(MANIFEST.size)
    for index, group in enumerate(MANIFEST.groups):
        e, m, later = (
            int(x[index]) for x in (before.update_exponents, before.model_exponents, after.model_exponents)
        )
        shifts = 2 / 3 * 2.0**-later if later < m else 0.0
        result[group.slice] = 2.0**-e * (0.5 + n * 2.0**-15) + 0.5 * 2.0**-m + shifts
    return result


def saturation(model: ModelState, delta: Floats) -> Floats:
    """Return how much of each coordinate lies beyond the largest element that the exponent can express."""
    largest = np.empty(MANIFEST.size)
    for group, e in zip(MANIFEST.groups, model.update_exponents.tolist(), strict=True):
        largest[group.slice] = 32767 * 2.0**-e
    return np.maximum(0, abs(delta) - largest)


def train(seed: int, examples: list[int], heights: int) -> tuple[float, float]:
    """Run `heights` and check each against the bound; return the worst share of it and all saturation."""
    generator = np.random.default_rng(seed)
    data = [(generator.normal(size=(n, FEATURES)), generator.integers(0, CLASSES, n)) for n in examples]
    shares = [n / sum(examples) for n in examples]
    start = generator.normal(scale=0.3, size=MANIFEST.size)
    e, m = initial_exponents(MANIFEST, start, -RATE * gradient(start, *data[4]), 12)
    model = ModelState(encode_model(start, MANIFEST.groups, m), e, m)
    worst = lost = 0.0
    for _ in range(heights):
        view = model_view(model, MANIFEST.groups).astype(np.float64)
        deltas = [-RATE * gradient(view, x, y) for x, y in data]
        rows = [quantise(delta, MANIFEST.groups, model.update_exponents) for delta in deltas]
        after = merge(
            MANIFEST, model, rows, examples, faulty_max=0, rule="mean", update_bits=12, examples_cap=0
        ).model
        direct = exact(model) + sum(share * delta for share, delta in zip(shares, deltas, strict=True))
        missing = sum(share * saturation(model, delta) for share, delta in zip(shares, deltas, strict=True))
        error = abs(exact(after) - direct)
        allowed = bound(model, after, len(examples)) + missing
        assert (error <= allowed).all()
        worst, lost = max(worst, float((error / allowed).max())), lost + float(np.sum(missing))
        model = after
    return worst, lost


@pytest.mark.parametrize("seed", range(4))
def test_a_height_is_a_step_of_federated_averaging(seed: int) -> None:
    worst, lost = train(seed, EVEN, heights=12)
    assert lost == 0, "with nothing saturated the bound is quantisation alone"
    assert worst > 0.02, "a bound this far away would prove nothing"


def test_what_an_outlier_loses_to_saturation_is_all_that_is_lost() -> None:
    # Exponents follow the third largest of seven updates, so one far above the others is cut off.
    assert any(train(seed, UNEVEN, heights=12)[1] > 0 for seed in range(4))


def test_claims_above_the_cap_count_as_the_cap() -> None:
    rows = [np.full(MANIFEST.size, value, np.int16) for value in (100, 200, 3000)]
    model = ModelState(np.zeros(MANIFEST.size, np.int32), np.full(2, 10, np.int8), np.full(2, 10, np.int8))
    for cap, expected in ((0, 2972), (4, 2050), (1, 1100)):
        merged = merge(
            MANIFEST, model, rows, [10, 10, 2000], faulty_max=0, rule="mean", update_bits=12, examples_cap=cap
        )
        assert set(merged.aggregate.tolist()) == {expected}
