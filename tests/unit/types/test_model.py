"""A model is cut into groups that never cross an array, and its roots bind every bit."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.errors import LocalError
from p2pfed.types.model import ArraySpec, Group, Manifest, ModelState, verify_manifest
from p2pfed.types.params import GROUP_ELEMENTS_MAX


def array(name: str, *shape: int, kind: str = "trained") -> ArraySpec:
    return ArraySpec(name, shape, "float32", kind, False)  # type: ignore[arg-type]


def test_a_large_array_is_cut_and_a_new_one_begins_a_new_group() -> None:
    manifest = Manifest((array("a", GROUP_ELEMENTS_MAX + 3), array("n", 7, kind="local"), array("b", 2, 2)))
    edge = GROUP_ELEMENTS_MAX
    assert manifest.size == edge + 7
    assert manifest.groups == (
        Group(0, edge, "trained", False),
        Group(edge, edge + 3, "trained", False),
        Group(edge + 3, edge + 7, "trained", False),
    )


def test_a_scalar_has_one_element() -> None:
    assert Manifest((array("a"),)).size == 1


@pytest.mark.parametrize(
    "arrays", [(array("a", 1), array("a", 2)), (array("a", 3, kind="local"),), (array("a", 1 << 30, 4),)]
)
def test_a_manifest_without_sense_is_refused(arrays: tuple[ArraySpec, ...]) -> None:
    with pytest.raises(LocalError):
        verify_manifest(Manifest(arrays))


def test_any_changed_bit_changes_a_root() -> None:
    weights = np.arange(4, dtype=np.int32)
    model = ModelState(weights, np.array([1], np.int8), np.array([2], np.int8))
    other = weights.copy()
    other[3] ^= 1
    assert ModelState(other, model.update_exponents, model.model_exponents).root != model.root
    swapped = ModelState(weights, model.model_exponents, model.update_exponents)
    assert swapped.exponents_root != model.exponents_root
    assert model.weights_bytes() == b"".join(value.to_bytes(4, "little") for value in range(4))


def test_a_model_comes_back_from_its_bytes_and_cannot_be_changed() -> None:
    exponents = np.array([3, -2], np.int8), np.array([7, 0], np.int8)
    model = ModelState(np.array([1, -(1 << 30), 5], np.int32), *exponents)
    arrays = tuple(
        ArraySpec(name, (size,), "float32", "trained", False) for name, size in (("a", 1), ("b", 2))
    )
    again = ModelState.from_bytes(model.weights_bytes(), model.exponents_bytes(), Manifest(arrays))
    assert (again.root, again.exponents_root) == (model.root, model.exponents_root)
    assert again.update_exponents.tolist() == [3, -2]
    assert again.model_exponents.tolist() == [7, 0]
    assert not again.weights.flags.writeable
