"""What must come of a run besides the laws: the same in virtual time and with processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from p2pfed.sim.earnings import rider_objections

if TYPE_CHECKING:
    from p2pfed.sim.scenario import Scenario


class Expect(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a scenario expects of its end. Members are numbers; None: not looked at.

    heights: The least and the most final blocks at the end; none: all heights of the scenario.
    accuracy: The last model names at least this share of the public digits right.
    convicted: The members that the ledger has convicted, all of them.
    refused: The members of whom an honest peer refused an update for what is in it, all of them.
    blamed: The members that an honest peer shut out for a while for what they sent, all of them.
    returns: At least so many blocks go back to an older model.
    older: At least so many updates in blocks trained from an older model than the last.
    unpaid: Whether each liar's updates score at most a tenth of an honest trainer's.
    """

    heights: tuple[int, int] | None = None
    accuracy: float = 0.0
    convicted: tuple[int, ...] | None = None
    refused: tuple[int, ...] | None = None
    blamed: tuple[int, ...] | None = None
    returns: int = 0
    older: int = 0
    unpaid: bool = False


class Came(Struct, frozen=True):
    """What came of a run.

    blocks: How many are final at an honest peer, the most.
    accuracy: `acc(public)` of its last model.
    convicted, refused, blamed: Members, as Expect has them.
    earned: What the updates of each member scored in its blocks.
    returns, older: As Expect has them.
    """

    blocks: int
    accuracy: float
    convicted: Collection[int] = ()
    refused: Collection[int] = ()
    blamed: Collection[int] = ()
    earned: Mapping[int, int] = {}
    returns: int = 0
    older: int = 0


def disappointments(scenario: Scenario, came: Came) -> list[str]:
    """Return what a scenario expects of its end and did not get, in sentences."""
    expect, found = scenario.expect, []
    low, high = expect.heights or (scenario.heights, scenario.heights)
    if not low <= came.blocks <= high:
        found.append(f"{came.blocks} blocks are final where {low} to {high} are expected")
    if came.accuracy < expect.accuracy:
        found.append(f"accuracy {came.accuracy:.3f} where at least {expect.accuracy:g} is expected")
    for what in ("convicted", "refused", "blamed"):
        wanted: tuple[int, ...] | None = getattr(expect, what)
        if wanted is not None and {*getattr(came, what)} != {*wanted}:
            got = sorted(getattr(came, what))
            found.append(f"peers {got} are {what} where {sorted(wanted)} are expected")
    for count, least, what in (
        (came.older, expect.older, "updates of older models count"),
        (came.returns, expect.returns, "blocks go back to an older model"),
    ):
        if count < least:
            found.append(f"{count} {what} where at least {least} are expected")
    if expect.unpaid:
        found += rider_objections(came.earned, scenario.peers, len(scenario.byzantine))
    return found


def verify_expect(expect: Expect, peers: int) -> str:
    """Return what is wrong with an expectation of a network of `peers` members; an empty text: nothing."""
    if not 0 <= expect.accuracy <= 1:
        return f"expect.accuracy is {expect.accuracy:g}; it goes from 0 to 1"
    for name in ("convicted", "refused", "blamed"):
        members: tuple[int, ...] = getattr(expect, name) or ()
        if not all(0 <= member < peers for member in members):
            return f"expect.{name} is {list(members)}; members are 0 to {peers - 1}"
    low, high = expect.heights or (0, 0)
    if not 0 <= low <= high:
        return f"expect.heights goes from {low} to {high}"
    if expect.older < 0 or expect.returns < 0:
        return "expect.older and expect.returns are not negative"
    return ""
