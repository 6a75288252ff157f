"""Pre-rules: who is shortened, paired by dice, aligned and shrunk."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.arc import arc
from p2pfed.aggregation.bucketing import bucketing
from p2pfed.aggregation.dice import permutation, stream
from p2pfed.aggregation.mixture import FACTOR_ONE, Mixture
from p2pfed.aggregation.past import Past, past_direction
from p2pfed.aggregation.staleness import AGE_FACTORS, aligned, past_exponents_after, prepared, shrunk
from p2pfed.primitives.digest import tagged
from p2pfed.types.model import ArraySpec, Manifest, ModelState

SEED = bytes(range(32))


def mixture(norms: list[int]) -> Mixture:
    table = [[a * a if i == j else 0 for j in range(len(norms))] for i, a in enumerate(norms)]
    return Mixture(len(norms), None, None, 1, table, None)


def test_arc_shortens_2f_n_minus_f_div_n_rows_to_the_next_longest() -> None:
    # n = 5, f = 1: 2 * 4 / 5 = 1 row.
    assert arc(mixture([10, 50, 20, 30, 40]), 1, SEED).factors == (
        FACTOR_ONE, FACTOR_ONE * 40 // 50, FACTOR_ONE, FACTOR_ONE, FACTOR_ONE,
    )  # fmt: skip
    # f = 2: 4 * 3 / 5 = 2 rows.
    assert arc(mixture([10, 50, 20, 30, 40]), 2, SEED).factors == (
        FACTOR_ONE, FACTOR_ONE * 30 // 50, FACTOR_ONE, FACTOR_ONE, FACTOR_ONE * 30 // 40,
    )  # fmt: skip
    assert set(arc(mixture([1, 9]), 0, SEED).factors or ()) == {FACTOR_ONE}


def test_the_dice_are_a_chacha20_stream_under_a_key_of_the_seed_and_the_name() -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    key = tagged("dice", SEED + b"bucketing")
    cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    assert stream(SEED, "bucketing", 70) == cipher.update(bytes(70))
    assert stream(SEED, "bucketing", 70)[:16].hex() == "c74bc71dcf885a8bd4ee619568e2d559"
    words = np.frombuffer(stream(SEED, "bucketing", 36), "<u4")
    assert permutation(SEED, "bucketing", 9) == np.argsort(words, kind="stable").tolist()


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_every_row_is_in_one_bucket_and_a_row_alone_counts_twice(n: int) -> None:
    mixed = bucketing(mixture([1] * n), 0, SEED)
    assert mixed.matrix is not None
    assert (mixed.matrix.sum(1) == 2).all()
    alone = n % 2
    assert mixed.matrix.sum(0).tolist().count(2) == alone
    assert ((mixed.matrix > 0).sum(0) == 1).all()
    assert (mixed.count, mixed.scale) == ((n + 1) // 2, 2)


def test_an_older_row_is_brought_to_the_exponent_of_today() -> None:
    row = np.array([-32767, -3, -2, 0, 1, 2, 3, 32767], np.int16)
    assert aligned(row, 0) is row
    assert aligned(row, 1).tolist() == [-32767, -6, -4, 0, 2, 4, 6, 32767]
    assert aligned(row, 38).tolist() == [-32767, -32767, -32767, 0, 32767, 32767, 32767, 32767]
    assert aligned(row, -1).tolist() == [-16383, -1, -1, 0, 1, 1, 2, 16384]
    assert aligned(row, -38).tolist() == [0] * 8


def test_an_older_row_counts_less() -> None:
    row = np.array([-32767, -1, 0, 1, 32767], np.int16)
    assert shrunk(row, 0) is row
    assert [shrunk(row, age)[-1] for age in range(5)] == [32767, 23169, 18918, 16384, 14654]
    assert shrunk(row, 3).tolist() == [-16383, 0, 0, 1, 16384]
    assert [round(2**15 / (1 + age) ** 0.5) for age in range(5)] == list(AGE_FACTORS)


def test_rows_are_aligned_by_the_exponents_of_their_base_and_only_the_shrunk_ones_are_merged() -> None:
    manifest = Manifest(
        tuple(ArraySpec(name, (2,), "float32", "trained", nonnegative=False) for name in "ab")
    )
    past = np.array([[4, 7], [5, 5]], np.int8)
    model = ModelState(np.zeros(4, np.int32), np.array([5, 5], np.int8), np.array([9, 9], np.int8), past)
    rows = [np.array([100, -100, 100, -7], np.int16)] * 3
    straight, counted = prepared(manifest, model, rows, [0, 1, 2])
    assert straight[0] is counted[0] is rows[0]
    assert straight[1].tolist() == [200, -200, 25, -2]
    assert counted[1].tolist() == [141, -141, 18, -1]
    assert straight[2].tolist() == rows[2].tolist()
    assert counted[2].tolist() == [58, -58, 58, -4]
    assert prepared(manifest, model, rows, ())[1] == rows
    after = past_exponents_after(model)
    assert after.tolist() == [[5, 5], [4, 7]]


@pytest.mark.parametrize(
    ("e", "m", "expected"), [(4, 4, 900), (6, 4, 3600), (12, 4, 32767), (2, 4, 225), (-8, 4, 0)]
)
def test_the_aggregate_before_is_brought_to_the_units_of_updates(e: int, m: int, expected: int) -> None:
    past = Past(np.array([900, -(2**29) + 1, 0], np.int32), np.array([m], np.int8))
    direction = past_direction(past, 0, slice(0, 3), e)
    assert direction.tolist()[::2] == [expected, 0]
    assert direction[1] == (-32767 if e >= -8 else 0)
