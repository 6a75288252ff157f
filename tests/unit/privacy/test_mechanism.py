"""Floats become integers by one rounding, and what can't be one is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.errors import LocalError
from p2pfed.privacy.mechanism import encode_model, initial_exponents, model_view, quantise
from p2pfed.types.model import ArraySpec, Manifest, ModelState

MANIFEST = Manifest(
    (
        ArraySpec("weight", (2, 2), "float32", "trained", False),
        ArraySpec("bias", (2,), "float32", "trained", False),
    )
)
GROUPS = MANIFEST.groups


def int8(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.int8)


def test_halves_go_to_even_and_each_group_has_its_unit() -> None:
    delta = np.array([0.5, 1.5, -0.5, -1.5, 0.5, 3.0], np.float32)
    assert quantise(delta, GROUPS, int8(0, 3)).tolist() == [0, 2, 0, -2, 4, 24]
    assert quantise(8 * delta, GROUPS, int8(-3, -8)).tolist() == [0, 2, 0, -2, 0, 0]


def test_large_updates_saturate_symmetrically() -> None:
    delta = np.array([1e300, -1e300, 32767.4, -32767.6, 1.0, -1.0])
    assert quantise(delta, GROUPS, int8(0, 30)).tolist() == [32767, -32767, 32767, -32767, 32767, -32767]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 5])
def test_a_diverged_training_sends_nothing(bad: float, position: int) -> None:
    values = np.zeros(6, np.float32)
    values[position] = bad
    exponents = int8(0, 0)
    for refused in (
        lambda: quantise(values, GROUPS, exponents),
        lambda: encode_model(values, GROUPS, exponents),
        lambda: initial_exponents(MANIFEST, values, np.zeros(6), 12),
        lambda: initial_exponents(MANIFEST, np.zeros(6), values, 12),
    ):
        with pytest.raises(LocalError, match="NaN or infinite"):
            refused()


def test_the_view_is_one_rounding_to_the_nearest_even_float32() -> None:
    weights = np.array([2**24 + 1, 2**24 + 3, -(2**24) - 1, 3, 1, -(2**31) + 1], np.int32)
    view = model_view(ModelState(weights, int8(0, 0), int8(2, 30)), GROUPS)
    assert view.dtype == np.float32
    assert view.tolist() == [2**22, 2**22 + 1, -(2**22), 0.75, 2.0**-30, -2.0]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6), st.integers(0, 2**32), st.integers(10, 14))
def test_genesis_exponents_fit_the_model_and_its_first_update(
    values: list[float], seed: int, bits: int
) -> None:
    weights = np.array(values)
    update = np.random.default_rng(seed).normal(size=6) * 10.0 ** np.random.default_rng(seed).integers(-4, 3)
    e, m = initial_exponents(MANIFEST, weights, update, bits)
    rows, encoded = quantise(update, GROUPS, e), encode_model(weights, GROUPS, m)
    for index, group in enumerate(GROUPS):
        gap, top = int(m[index]) - int(e[index]), int(abs(rows[group.slice]).max())
        assert gap <= 14
        assert 2 ** (bits - 1) <= top <= 2**bits or e[index] in (-8, 30)
        assert abs(encoded[group.slice].astype(np.int64)).max() <= 2**28
        error = abs(encoded[group.slice] * 2.0 ** -int(m[index]) - weights[group.slice])
        assert error.max() <= 0.5 * 2.0 ** -int(m[index])


def test_genesis_exponents_follow_the_formula() -> None:
    weights = np.array([0.5, -1.0, 0.0, 0.3, 0.0, 0.0])
    update = np.array([0.01, -0.02, 0.0, 0.0, 0.25, -0.1])
    e, m = initial_exponents(MANIFEST, weights, update, 12)
    assert (e.tolist(), m.tolist()) == ([17, 14], [28, 24])  # Zero weights: m = e + 10.
    e, m = initial_exponents(MANIFEST, 1000 * weights + 1e-9, update * 1e4, 12)
    assert (e.tolist(), m.tolist()) == ([4, 0], [18, 14])  # m = e + 14 where the weights would allow more.
    assert initial_exponents(MANIFEST, weights, np.zeros(6), 12)[0].tolist() == [12, 12]


def test_exponents_stay_in_their_ranges() -> None:
    tiny, huge = np.full(6, 1e-30), np.full(6, 1e30)
    assert [x.tolist() for x in initial_exponents(MANIFEST, tiny, tiny, 12)] == [[30, 30], [30, 30]]
    assert [x.tolist() for x in initial_exponents(MANIFEST, huge, huge, 12)] == [[-8, -8], [0, 0]]
    assert [x.tolist() for x in initial_exponents(MANIFEST, np.zeros(6), tiny, 12)] == [[30, 30], [30, 30]]


def test_a_model_of_huge_weights_is_refused() -> None:
    with pytest.raises(LocalError, match="too large"):
        encode_model(np.full(6, 2.0**29), GROUPS, int8(0, 0))
    assert encode_model(np.full(6, -(2.0**29) + 1), GROUPS, int8(0, 0)).tolist() == [1 - 2**29] * 6
