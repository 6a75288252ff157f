"""What a pre-rule is: it prepares rows for a rule, and never sees them either."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from p2pfed.aggregation.mixture import Mixture


class PreRule(Struct, frozen=True):
    """A pre-rule by its name in genesis.

    stage: Pre-rules come in ascending order of this, at most one of each: 1 scales, 2 makes fewer rows, 3
        mixes.
    count: How many rows are left of n.
    prepare: `(mixture, f, seed of the height) -> mixture`.
    uses_products: It looks at `Mixture.products`.
    """

    name: str
    stage: int
    count: Callable[[int], int]
    prepare: Callable[[Mixture, int, bytes], Mixture]
    uses_products: bool = True


def all_rows(count: int) -> int:
    """The count of a pre-rule that leaves as many rows as it gets."""
    return count
