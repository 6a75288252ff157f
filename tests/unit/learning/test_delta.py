"""The way from a list of arrays to the agreed vector and back loses nothing but what float32 must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from p2pfed.learning.delta import describe, difference, flatten, unflatten
from p2pfed.learning.learner import Array, LearnerError

finite = st.floats(-1e6, 1e6, width=32)
arrays = st.lists(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=finite),
    min_size=1,
    max_size=5,
)


@given(arrays)
def test_arrays_survive_the_way_to_the_vector_and_back(given_arrays: list[Array]) -> None:
    manifest = describe(given_arrays)
    flat = flatten(given_arrays, manifest)
    assert flat.dtype == np.float32
    assert flat.shape == (sum(array.size for array in given_arrays),)
    back = unflatten(flat, manifest, given_arrays)
    for one, other in zip(given_arrays, back, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
        assert other.flags.writeable
        assert not np.shares_memory(other, flat)


def test_integer_arrays_take_no_place_in_the_vector_and_are_copied() -> None:
    mixed = [np.ones(2, np.float32), np.array([5, 6]), np.full((1, 2), 3.0)]
    manifest = describe(mixed)
    assert [(a.name, a.dtype, a.kind) for a in manifest.arrays] == [
        ("array0", "float32", "trained"),
        ("array1", "int64", "local"),
        ("array2", "float64", "trained"),
    ]
    assert flatten(mixed, manifest).tolist() == [1, 1, 3, 3]
    back = unflatten(np.arange(4, dtype=np.float32), manifest, mixed)
    assert [array.tolist() for array in back] == [[0, 1], [5, 6], [[2, 3]]]
    assert [str(array.dtype) for array in back] == ["float32", "int64", "float64"]
    back[1][0] = 9
    assert mixed[1][0] == 5


def test_half_precision_is_trained_through_a_float32_master() -> None:
    manifest = describe([np.zeros(1, np.float16)])
    view = np.array([1 / 3], np.float32)
    (seen,) = unflatten(view, manifest, [np.zeros(1, np.float16)])
    assert seen.dtype == np.float32
    assert difference([seen], view, manifest).tolist() == [0.0]


def test_a_float64_step_below_float32_resolution_survives() -> None:
    manifest = describe([np.zeros(1)])
    view = np.array([1.0], np.float32)
    assert difference([np.array([1.0 + 1e-9])], view, manifest)[0] == pytest.approx(1e-9, rel=1e-3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([np.array([np.nan, 0])], "array0 holds NaN or infinity"),
        ([np.array([0, -np.inf])], "array0 holds NaN or infinity"),
        ([np.array([1e300, 0])], "array0 holds NaN or infinity"),
        ([np.zeros((2, 1))], "shape"),
        ([np.zeros(2), np.zeros(2)], "2 arrays came back; the model has 1"),
        ([np.zeros(2, np.int64)], "came back as int64"),
        ([np.zeros(2, np.complex128)], "came back as complex128"),
        ([np.array(["a", "b"])], "came back as <U1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(bad: list[Array], reason: str) -> None:
    manifest = describe([np.zeros(2)])
    with pytest.raises(LearnerError, match=reason):
        difference(bad, np.zeros(2, np.float32), manifest)


def test_an_integer_array_may_not_come_back_as_floats() -> None:
    manifest = describe([np.zeros(1), np.zeros(1, np.int32)])
    flatten([np.zeros(1), np.zeros(1, np.int64)], manifest)
    with pytest.raises(LearnerError, match="array1 came back as float64"):
        flatten([np.zeros(1), np.zeros(1)], manifest)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], "0 arrays"),
        ([np.zeros(1)] * 4097, "4097 arrays"),
        ([np.zeros((2, 0))], "is empty"),
        ([np.zeros(1, np.uint8)], "is uint8; use"),
        ([np.zeros(1, object)], "is object; use"),
    ],
)
def test_arrays_that_are_no_model_are_refused(bad: list[Array], reason: str) -> None:
    with pytest.raises(LearnerError, match=reason):
        describe(bad)
