"""A peer's share of labelled rows, and what all peers evaluate on."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from p2pfed.learning.datasets import Dataset, Features, Labels, load_digits
from p2pfed.learning.learner import AppContext, Array, LearnerError
from p2pfed.learning.partition import Rows, partition
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root

Pair = tuple[Array, Array]


class Labelled(Struct, frozen=True, eq=False):
    """Rows with their labels: x float32, shape `(rows, features)`; y int64, shape `(rows,)`."""

    x: Features
    y: Labels


def digits(context: AppContext) -> tuple[Pair, Pair]:
    """Return this peer's share of the 1,400 digits that ship to train on, and the public 397.

    Returns:
        Two pairs `(x, y)`: x float32 in 0..1 of shape `(rows, 64)`, y int64 labels 0..9 of shape `(rows,)`.

    Raises:
        LearnerError: The peer has no share, or `context.partition` is none.
    """
    data = load_digits()
    rows = own_rows(data.y_train, context)
    own = data.features(data.x_train[rows]), data.y_train[rows]
    return own, (data.features(data.x_test), data.y_test)


def share(x: Any, y: Any, context: AppContext) -> Pair:
    """Return this peer's rows of `x` and `y`, arrays that every peer has whole.

    Split as `context.partition` says, by the labels `y`; numbers that are no labels are split evenly.

    Raises:
        LearnerError: Lengths differ, the peer has no share, or there are too few rows.
    """
    x, y = np.asarray(x), np.asarray(y)
    if len(x) != len(y):
        raise LearnerError(f"x has {len(x)} rows and y has {len(y)}")
    labels = np.unique(y, return_inverse=True)[1].reshape(-1) if y.ndim == 1 else np.zeros(len(y), np.int64)
    rows = own_rows(labels.astype(np.int64), context)
    return x[rows], y[rows]


def own_rows(labels: Labels, context: AppContext) -> Rows:
    """Return the numbers of this peer's rows, ascending; raises LearnerError where it has none."""
    if not 0 <= context.index < context.peers:
        raise LearnerError(f"peer {context.index} of {context.peers} has no share")
    return partition(labels, context.peers, context.partition, context.seed)[context.index]


def labelled_share(data: Dataset, context: AppContext, holdout: int) -> tuple[Labelled, Labelled]:
    """Return this peer's rows to learn from, and every `holdout`-th that it never does (0: none)."""
    rows = own_rows(data.y_train, context)
    kept = np.arange(len(rows)) % holdout == holdout - 1 if holdout else np.zeros(len(rows), np.bool_)

    def labelled(chosen: Rows) -> Labelled:
        return Labelled(data.features(data.x_train[chosen]), data.y_train[chosen])

    return labelled(rows[~kept]), labelled(rows[kept])


def evaluation_root_of(test: object) -> bytes:
    """Return the digest of a public evaluation set `(x, y)`: chunk root of their bytes, x first."""
    if not (isinstance(test, tuple) and len(test) == 2):
        return EMPTY_ROOT
    return chunk_root(b"".join(np.ascontiguousarray(part).tobytes() for part in test))
