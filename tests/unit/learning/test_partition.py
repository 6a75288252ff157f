"""A split gives every row to exactly one peer, the same on every machine, as skewed as it was asked to be."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from p2pfed.learning.datasets import load_digits
from p2pfed.learning.learner import LearnerError
from p2pfed.learning.partition import ROWS_EACH_MIN, Dice, partition

SPECS = (
    "iid",
    "dirichlet:1.0",
    "dirichlet:0.05",
    "dirichlet:100",
    "label:1",
    "label:3",
    "gamma:0",
    "gamma:0.33",
    "gamma:1",
)
LABELS = np.arange(1000) % 10


def digest(shares: list[NDArray[np.int64]]) -> str:
    return hashlib.sha256(b"|".join(share.astype("<i8").tobytes() for share in shares)).hexdigest()


def skew(shares: list[NDArray[np.int64]]) -> float:
    """Return the mean distance between a peer's label distribution and that of all."""
    whole = np.bincount(LABELS, minlength=10) / len(LABELS)
    own = [np.bincount(LABELS[share], minlength=10) / len(share) for share in shares]
    return float(np.mean([np.abs(one - whole).sum() for one in own]))


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 9), min_size=4 * ROWS_EACH_MIN, max_size=300),
    peers=st.integers(1, 4),
    spec=st.sampled_from(SPECS),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_row_has_one_owner_and_no_peer_is_poor(
    labels: list[int], peers: int, spec: str, seed: int
) -> None:
    array = np.array(labels)
    if spec.startswith("label") and int(spec[6:]) > len(set(labels)):
        return
    shares = partition(array, peers, spec, seed)
    assert len(shares) == peers
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))
    assert min(len(share) for share in shares) >= ROWS_EACH_MIN
    assert all(share.tolist() == sorted(share.tolist()) for share in shares)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("iid", "75f00b79bafcbfe5501c4600792666e77a39b11c0cbf9c0d45e0d18e643ce72f"),
        ("dirichlet:1.0", "964142ab1969f069ec7c32076773503ae05db1fc958eb7026ac054734d2950dd"),
        ("dirichlet:0.1", "46d7a6532582c1ecccf49e57677dc7228b7682acc617321cbc3f3dcbad5b0f32"),
        ("label:2", "7524873c49856c3941da9c558a33106fa0a9add2d97b94bb9802451d41b244f8"),
    ],
)
def test_a_split_is_the_same_on_every_machine(spec: str, expected: str) -> None:
    assert digest(partition(load_digits().y_train, 7, spec, 3)) == expected


def test_another_seed_is_another_split_and_another_spelling_is_not() -> None:
    assert digest(partition(LABELS, 7, "iid", 1)) != digest(partition(LABELS, 7, "iid", 2))
    assert digest(partition(LABELS, 7, "dirichlet:1", 1)) == digest(partition(LABELS, 7, "dirichlet:1.0", 1))


def test_iid_shares_are_even() -> None:
    sizes = [len(share) for share in partition(LABELS, 7, "iid", 5)]
    assert max(sizes) - min(sizes) <= 1


def test_the_smaller_alpha_is_the_more_labels_differ_between_peers() -> None:
    def mean_skew(spec: str) -> float:
        return float(np.mean([skew(partition(LABELS, 7, spec, seed)) for seed in range(8)]))

    found = [mean_skew(spec) for spec in ("iid", "dirichlet:1000", "dirichlet:1", "dirichlet:0.1", "label:1")]
    # Expected total variation for Dirichlet(1) among 7: near 0.7; label:1 holds one or two of ten: near 1.7.
    assert found[0] < 0.35
    assert abs(found[1] - found[0]) < 0.05
    assert 0.5 < found[2] < 0.9
    assert 1.1 < found[3] < 1.6
    assert found[4] > 1.5


def test_polyas_urn_has_the_variance_of_dirichlet_shares() -> None:
    # The Dirichlet-multinomial law: a multinomial's variance times (rows + n alpha) / (1 + n alpha).
    peers, rows, alpha, splits = 4, 100, 1, 300
    labels = np.zeros(rows, np.int64)
    shares = [len(partition(labels, peers, "dirichlet:1", seed)[0]) / rows for seed in range(splits)]
    p = 1 / peers
    expected = p * (1 - p) * (rows + peers * alpha) / (1 + peers * alpha) / rows
    assert np.mean(shares) == pytest.approx(p, abs=0.04)
    assert np.var(shares) == pytest.approx(expected, rel=0.25)


def test_by_label_a_peer_holds_about_as_many_labels_as_asked() -> None:
    for seed in range(5):
        kinds = [len(set(LABELS[share].tolist())) for share in partition(LABELS, 5, "label:2", seed)]
        assert max(kinds) <= 2


@pytest.mark.parametrize(
    "spec",
    ["", "even", "iid:1", "dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:-1", "dirichlet:nan",
     "dirichlet:1e-999999999", "dirichlet:1/3", "dirichlet:9999999", "dirichlet:" + "9" * 1000, "label:0",
     "label:11", "label:x", "label:1.5", "label:²", "dirichlet:٣",
     "gamma:1.1", "gamma:-1", "gamma:", "gamma:x"],
)  # fmt: skip
def test_a_wrong_spec_is_one_sentence(spec: str) -> None:
    with pytest.raises(LearnerError) as caught:
        partition(LABELS, 7, spec, 0)
    assert len(str(caught.value)) < 200


def test_too_few_rows_or_an_odd_number_of_peers_are_refused() -> None:
    with pytest.raises(LearnerError, match="27 rows can't give 7 peers 4 each"):
        partition(LABELS[:27], 7, "iid", 0)
    for peers in (0, -1, 513):
        with pytest.raises(LearnerError, match="1 to 512"):
            partition(np.zeros(5000, np.int64), peers, "iid", 0)


def test_dice_are_uniform_and_apart_by_purpose() -> None:
    dice = Dice(0, "test")
    counts = np.bincount([dice.below(6) for _ in range(6000)], minlength=6)
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-square, 5 degrees of freedom, p = 0.001
    assert Dice(0, "a").shuffled(50) != Dice(0, "b").shuffled(50)
    orders = {tuple(Dice(seed, "order").shuffled(3)) for seed in range(100)}
    assert len(orders) == 6


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
def test_by_similarity_a_share_of_the_rows_is_even_and_the_rest_by_label(share: float) -> None:
    labels = np.repeat(np.arange(10), 400)
    others = []
    for rows in partition(labels, 10, f"gamma:{share}", 3):
        counts = np.bincount(labels[rows], minlength=10)
        assert abs(len(rows) - 400) <= 1
        others.append((counts.sum() - counts.max()) / counts.sum())
    # Of an even deal nine tenths have another label than a peer's first; of the rest a few at its ends.
    assert abs(np.mean(others) - 0.9 * share) < 0.05
