"""Each peer gets its rows of arrays that all have."""

from __future__ import annotations

import numpy as np
import pytest

import p2pfed
from p2pfed.learning.learner import AppContext, LearnerError
from p2pfed.learning.shares import digits, evaluation_root_of, share
from p2pfed.primitives.merkle import EMPTY_ROOT


def test_the_digits_come_as_two_pairs() -> None:
    (x, y), (x_test, y_test) = digits(AppContext(1, 7))
    assert (x.shape, x.dtype, y.shape) == ((200, 64), np.float32, (200,))
    assert x_test.shape == (397, 64)
    assert x.min() == 0
    assert x.max() == 1
    assert set(y_test.tolist()) == set(range(10))


@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.5", "label:2"])
def test_shares_of_all_peers_are_all_rows_once(partition: str) -> None:
    x, y = np.arange(60).reshape(60, 1), np.repeat(["ham", "spam", "tofu"], 20)
    shares = [share(x, y, AppContext(index, 4, partition)) for index in range(4)]
    assert sorted(int(row) for rows, _ in shares for row in rows[:, 0]) == list(range(60))
    assert all((labels == y[rows[:, 0]]).all() for rows, labels in shares)


def test_what_is_no_label_is_split_too() -> None:
    x, y = np.zeros((40, 2)), np.linspace(0, 1, 40)
    assert [len(share(x, y, AppContext(index, 4))[1]) for index in range(4)] == [10] * 4
    assert len(share(x, np.zeros((40, 2)), AppContext(0, 4))[1]) == 10


def test_a_peer_outside_the_split_and_arrays_that_dont_match_are_refused() -> None:
    with pytest.raises(LearnerError, match="peer 4 of 4 has no share"):
        share(np.zeros((40, 2)), np.zeros(40), AppContext(4, 4))
    with pytest.raises(LearnerError, match="x has 40 rows and y has 39"):
        share(np.zeros((40, 2)), np.zeros(39), AppContext(0, 4))


def test_the_evaluation_set_has_a_digest_where_there_is_one() -> None:
    _, test = digits(AppContext())
    assert evaluation_root_of(test) != evaluation_root_of((test[0], test[1] + 1)) != EMPTY_ROOT
    assert evaluation_root_of(None) == EMPTY_ROOT


def test_the_package_names_what_it_offers() -> None:
    assert dir(p2pfed) == sorted(p2pfed.__all__)
    assert p2pfed.digits is digits
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = p2pfed.nonsense
