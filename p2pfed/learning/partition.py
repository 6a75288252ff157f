"""Split training rows among peers: evenly, skewed by Dirichlet(alpha), few labels each, or a share of it.

All dice are integers drawn from SHA-256 in counter mode. numpy's generators promise no equal draws across
versions, and their gamma variates go through the platform's `log`; here every machine gets the same split, so
peers that split one file without talking share no row.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from p2pfed.learning.learner import LearnerError
from p2pfed.types.params import PARTICIPANTS_MAX

Rows = NDArray[np.int64]

ROWS_EACH_MIN = 4  # A peer with no rows sends no update; with four, every peer of a skewed split takes part.
_ALPHA_MAX = 10**6  # Beyond it Dirichlet is iid to every figure.
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


class Dice:
    """Uniform integers from SHA-256 in counter mode: the same on every machine."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = f"p2pfed/dice/{purpose}/{seed}/".encode("ascii")
        self._counter = 0

    def below(self, bound: int) -> int:
        """Return a uniform integer in `0..bound-1`; `0 < bound <= 2^128`, so a second draw is rare."""
        assert 0 < bound <= 1 << 128
        limit = (1 << 256) - (1 << 256) % bound
        while True:
            digest = hashlib.sha256(self._key + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
            number = int.from_bytes(digest, "big")
            if number < limit:
                return number % bound

    def shuffled(self, count: int) -> list[int]:
        """Return a uniform permutation of `0..count-1` (Fisher and Yates)."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def partition(labels: NDArray[np.int64], peers: int, spec: str, seed: int) -> list[Rows]:
    """Return the rows of each peer, sorted; together every row exactly once.

    Args:
        labels: The label of each row, shape `(rows,)`.
        peers: Among how many to split.
        spec: "iid"; "dirichlet:ALPHA", ALPHA a decimal number above 0; "label:K", about K labels each;
            "gamma:SHARE", that share of the rows evenly and the rest by label, SHARE from 0 to 1.
        seed: Which split of that kind.

    Raises:
        LearnerError: An unknown spec, or fewer than ROWS_EACH_MIN rows for each peer.
    """
    if not 1 <= peers <= PARTICIPANTS_MAX:
        raise LearnerError(f"a split among {peers} peers; 1 to {PARTICIPANTS_MAX} are allowed")
    if len(labels) < ROWS_EACH_MIN * peers:
        raise LearnerError(f"{len(labels)} rows can't give {peers} peers {ROWS_EACH_MIN} each")
    kind, _, argument = spec.partition(":")
    dice = Dice(seed, kind)
    if kind == "iid" and not argument:
        order = dice.shuffled(len(labels))
        shares = [order[peer::peers] for peer in range(peers)]
    elif kind == "dirichlet":
        shares = _by_dirichlet(labels, peers, _alpha(argument), dice)
    elif kind == "label":
        shares = _by_label(labels, peers, _labels_each(argument, labels), dice)
    elif kind == "gamma":
        shares = _by_similarity(labels, peers, _share(argument), dice)
    else:
        raise LearnerError(f"unknown partition {spec!r}; use iid, dirichlet:1.0, label:2 or gamma:0.5")
    _feed_the_poor(shares)
    return [np.array(sorted(share), np.int64) for share in shares]


def _by_dirichlet(labels: NDArray[np.int64], peers: int, alpha: Fraction, dice: Dice) -> list[list[int]]:
    """Deal each label's rows by Polya's urn: Dirichlet(alpha)-multinomial counts without a single float.

    A row goes to peer i with probability (alpha + rows i has of the label) / (peers * alpha + rows dealt):
    either to a uniform peer, or to the owner of a uniform earlier row.

    Source:
        Blackwell and MacQueen 1973; as a split of data: Hsu et al. 2019 (arXiv:1909.06335).
    """
    shares: list[list[int]] = [[] for _ in range(peers)]
    order = dice.shuffled(len(labels))
    owners: dict[int, list[int]] = {}
    for row in order:
        dealt = owners.setdefault(int(labels[row]), [])
        fresh = peers * alpha.numerator
        draw = dice.below(fresh + len(dealt) * alpha.denominator)
        owner = draw // alpha.numerator if draw < fresh else dealt[(draw - fresh) // alpha.denominator]
        dealt.append(owner)
        shares[owner].append(row)
    return shares


def _by_label(labels: NDArray[np.int64], peers: int, each: int, dice: Dice) -> list[list[int]]:
    """Sort by label, cut into `peers * each` shards, deal each peer `each` of them (McMahan et al. 2017)."""
    order = sorted(dice.shuffled(len(labels)), key=lambda row: int(labels[row]))
    shards = peers * each
    cuts = [len(order) * shard // shards for shard in range(shards + 1)]
    dealt = dice.shuffled(shards)
    shares: list[list[int]] = [[] for _ in range(peers)]
    for position, shard in enumerate(dealt):
        shares[position // each] += order[cuts[shard] : cuts[shard + 1]]
    return shares


def _by_similarity(labels: NDArray[np.int64], peers: int, share: Fraction, dice: Dice) -> list[list[int]]:
    """Deal a share of the rows evenly; sort the rest by label, and give each peer a stretch of it.

    Source:
        Hsu et al. 2019 and Karimireddy et al. 2020 (arXiv:1910.06378): "s % similarity"; ByzFL's gamma.
    """
    order = dice.shuffled(len(labels))
    cut = len(order) * share.numerator // share.denominator
    rest = sorted(order[cut:], key=lambda row: int(labels[row]))
    ends = [len(rest) * peer // peers for peer in range(peers + 1)]
    return [order[peer:cut:peers] + rest[ends[peer] : ends[peer + 1]] for peer in range(peers)]


def _feed_the_poor(shares: list[list[int]]) -> None:
    """Move rows from the largest share until each peer has ROWS_EACH_MIN."""
    for share in shares:
        while len(share) < ROWS_EACH_MIN:
            share.append(max(shares, key=len).pop())


def _alpha(text: str) -> Fraction:
    # The pattern leaves out exponents, so that a hostile "1e-999999" stays cheap.
    alpha = Fraction(text) if _DECIMAL.fullmatch(text) else Fraction(0)
    if not 0 < alpha <= _ALPHA_MAX:
        raise LearnerError(f"dirichlet:{text[:40]} needs a decimal number above 0 and at most {_ALPHA_MAX}")
    return alpha


def _share(text: str) -> Fraction:
    share = Fraction(text) if _DECIMAL.fullmatch(text) else Fraction(-1)
    if not 0 <= share <= 1:
        raise LearnerError(f"gamma:{text[:40]} needs a decimal number from 0 to 1")
    return share


def _labels_each(text: str, labels: NDArray[np.int64]) -> int:
    kinds = len(set(labels.tolist()))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= kinds):
        raise LearnerError(f"label:{text[:40]} needs a whole number of labels from 1 to {kinds}")
    return int(text)
