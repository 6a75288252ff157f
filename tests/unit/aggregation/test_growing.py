"""Products that grow as updates arrive are, bit for bit, those of one pass over the updates that are left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation.engine import merge
from p2pfed.aggregation.gram import gram
from p2pfed.aggregation.growing import GrowingGram
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState

SIZES = (1, 37, 5)
MANIFEST = Manifest(
    tuple(
        ArraySpec(f"array {index}", (size,), "float32", "trained", False) for index, size in enumerate(SIZES)
    )
)


def drawn(n: int, seed: int = 0) -> dict[bytes, Int16Vector]:
    rows = np.random.default_rng(seed).integers(-32767, 32768, (n, MANIFEST.size)).astype(np.int16)
    return {bytes([index]): row for index, row in enumerate(rows)}


def whole(rows: list[Int16Vector]) -> list[list[list[int]]]:
    return [gram([row[group.slice] for row in rows]) for group in MANIFEST.groups]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 20), st.integers(0, 2**32))
def test_any_way_of_coming_and_going_gives_the_products_of_one_pass(
    data: st.DataObject, n: int, seed: int
) -> None:
    rows, growing = drawn(n, seed), GrowingGram(MANIFEST.groups)
    held: set[bytes] = set()
    for name in data.draw(st.permutations(list(rows))):
        batch = {name, *data.draw(st.sets(st.sampled_from(list(rows)), max_size=3))}
        growing.add({other: rows[other] for other in sorted(batch)})
        gone = data.draw(st.sets(st.sampled_from(list(rows)), max_size=2))
        growing.drop(gone)
        held = (held | batch) - gone
        assert len(growing) == len(held)
    asked = data.draw(st.permutations(sorted(held)))
    assert all(name in growing and growing.row(name) is rows[name] for name in asked)
    if asked:
        tables = [table.tolist() for table in growing.of(asked)]
        assert tables == whole([rows[name] for name in asked])


def test_a_row_that_takes_the_place_of_another_is_measured_anew() -> None:
    rows, growing = drawn(3), GrowingGram(MANIFEST.groups)
    growing.add(rows)
    name, other = list(rows)[:2]
    growing.drop([name])
    replacement = -rows[other]
    growing.add({name: replacement})
    expected = whole([replacement, rows[other]])
    assert [table.tolist() for table in growing.of([name, other])] == expected


def test_a_name_that_was_never_added_is_refused() -> None:
    growing = GrowingGram(MANIFEST.groups)
    growing.add(drawn(2))
    with pytest.raises(KeyError):
        growing.of([b"unknown"])


@pytest.mark.parametrize("rule", ["clip_nnm_trimmed_mean", "krum", "trimmed_mean"])
def test_a_merge_with_products_at_hand_gives_the_same_bits(rule: str) -> None:
    rows, growing = drawn(9), GrowingGram(MANIFEST.groups)
    for name in reversed(rows):
        growing.add({name: rows[name]})
    groups = len(SIZES)
    model = ModelState(
        np.zeros(MANIFEST.size, np.int32), np.full(groups, 9, np.int8), np.full(groups, 20, np.int8)
    )
    bits = [
        merge(
            MANIFEST, model, list(rows.values()), [1] * 9, faulty_max=2, rule=rule, update_bits=12,
            examples_cap=0, products=products,
        )
        for products in (None, growing.of(list(rows)))
    ]  # fmt: skip
    assert (bits[0].aggregate == bits[1].aggregate).all()
    assert bits[0].model.weights_bytes() == bits[1].model.weights_bytes()


def test_a_merge_looks_at_the_products_it_is_given_unless_an_update_is_old() -> None:
    rows = list(drawn(5).values())
    groups = len(SIZES)
    past = np.full((1, groups), 9, np.int8)
    model = ModelState(
        np.zeros(MANIFEST.size, np.int32),
        np.full(groups, 9, np.int8),
        np.full(groups, 20, np.int8),
        past_exponents=past,
    )
    lies = [np.diag([9, 9, 9, 9, 1]).astype(np.int64) for _ in SIZES]  # Row 4 is in the middle of all.

    def merged(products: list[np.ndarray] | None, ages: tuple[int, ...]) -> bytes:  # type: ignore[type-arg]
        return merge(
            MANIFEST, model, rows, [1] * 5, faulty_max=1, rule="krum", update_bits=12, examples_cap=0,
            products=products, ages=ages,
        ).aggregate.tobytes()  # fmt: skip

    assert merged(lies, ()) != merged(None, ())
    assert merged(lies, (0, 0, 1, 0, 0)) == merged(None, (0, 0, 1, 0, 0))


def test_it_tells_which_rows_it_holds() -> None:
    rows, growing = drawn(3), GrowingGram(MANIFEST.groups)
    growing.add({name: rows[name] for name in (b"\0", b"\1")})
    growing.drop([b"\1", b"\2"])
    assert [name in growing for name in rows] == [True, False, False]
