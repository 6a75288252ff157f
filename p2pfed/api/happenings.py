"""What a peer tells a program: typed values made of the one stream of facts, and whom to call with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from p2pfed.learning.learner import Metrics
from p2pfed.runtime.feed import Entry


class Block(Struct, frozen=True):
    """A block is final and on this peer's disk.

    height: Its place in the chain, counted from 1.
    hash, model_root: Of the block and of its model's integers, in hex.
    rule: That merged; "" where the block carries no new model.
    updates: How many it carries, of `expected` trainers.
    trainers: The peer ids of those whose updates it carries.
    round: The voting attempt that decided it; more than 0 means that a proposer was missed.
    took_ms: From the start of its height.
    figures: What this peer's learner measured of its model, such as `acc(public)` in 0..1 and `loss`; empty
        without a learner.
    """

    height: int
    hash: str
    model_root: str
    rule: str
    updates: int
    expected: int
    trainers: tuple[str, ...]
    round: int
    took_ms: int
    is_empty: bool
    figures: Metrics = {}


class UpdateMade(Struct, frozen=True):
    """This peer trained on `examples` rows and published its update for `height`."""

    height: int
    examples: int


class UpdateSkipped(Struct, frozen=True):
    """This peer has no update for `height`; `reason` is what its learner did wrong, or that it has none."""

    height: int
    reason: str


class UpdateRefused(Struct, frozen=True):
    """The update of `trainer`, a peer id, does not count at this peer."""

    height: int
    trainer: str
    reason: str


class PeerJoined(Struct, frozen=True):
    """A pipe to `peer` opened; so much of the stake can be reached now, this peer's own included."""

    peer: str
    stake_connected: int
    stake_total: int


class PeerSuspected(Struct, frozen=True):
    """`peer` did what no honest peer does, or is not there; `reason` says what."""

    peer: str
    reason: str


Happening = Block | UpdateMade | UpdateSkipped | UpdateRefused | PeerJoined | PeerSuspected


class Callbacks(Struct, frozen=True, kw_only=True):
    """Functions to call when something happens, each with one value; in a running peer they may be async."""

    block: Callable[[Block], Any] | None = None
    update_made: Callable[[UpdateMade], Any] | None = None
    update_skipped: Callable[[UpdateSkipped], Any] | None = None
    update_refused: Callable[[UpdateRefused], Any] | None = None
    peer_joined: Callable[[PeerJoined], Any] | None = None
    peer_suspected: Callable[[PeerSuspected], Any] | None = None

    def call(self, happening: Happening) -> Any:
        """Call whoever waits for this; return what that returned."""
        wanted: dict[type[Happening], Callable[[Any], Any] | None] = {
            Block: self.block,
            UpdateMade: self.update_made,
            UpdateSkipped: self.update_skipped,
            UpdateRefused: self.update_refused,
            PeerJoined: self.peer_joined,
            PeerSuspected: self.peer_suspected,
        }
        function = wanted[type(happening)]
        return None if function is None else function(happening)

    async def tell(self, happening: Happening) -> None:
        """Call whoever waits for this, and wait for what is async."""
        answer = self.call(happening)
        if inspect.isawaitable(answer):
            await answer


class Reader:
    """Makes happenings of a feed's entries. A block waits for its figures, but not beyond the next block."""

    def __init__(self) -> None:
        self._block: Block | None = None

    def read(self, entry: Entry) -> tuple[Happening, ...]:
        """Return what an entry means to a program."""
        data = entry.data
        match entry.event:
            case "block.committed":
                waiting = self.flush()
                self._block = block_of(data)
                return waiting
            case "block.evaluated":
                figures = {name: value for name, value in data.items() if name != "height"}
                return self.flush(figures) if self._is_waiting_for(data["height"]) else ()
            case "update.made":
                return (UpdateMade(data["height"], data["examples"]),)
            case "update.skipped":
                return (UpdateSkipped(data["height"], data["reason"]),)
            case "update.refused":
                return (UpdateRefused(data["height"], data["trainer"], data["reason"]),)
            case "peer.joined":
                return (PeerJoined(data["peer"], data["connected_power"], data["total_power"]),)
            case "peer.blamed":
                return (PeerSuspected(data["peer"], data["reason"]),)
            case "peer.equivocated":
                return (
                    PeerSuspected(data["culprit"], f"evidence {data['kind']} at height {data['height']}"),
                )
            case "peer.jailed":
                return (PeerSuspected(data["validator"], f"away too long at height {data['height']}"),)
        return ()

    def flush(self, figures: Metrics | None = None) -> tuple[Block, ...]:
        """Return the block that waits, with these figures."""
        block, self._block = self._block, None
        return () if block is None else (replace(block, figures=figures or {}),)

    def _is_waiting_for(self, height: int) -> bool:
        return self._block is not None and self._block.height == height


def block_of(data: dict[str, Any], figures: Metrics | None = None) -> Block:
    """Return the block of a `block.committed` entry."""
    return Block(
        height=data["height"],
        hash=data["value_id"],
        model_root=data["model_root"],
        rule=data["rule"],
        updates=data["updates"],
        expected=data["expected"],
        trainers=tuple(data["trainers"]),
        round=data["round"],
        took_ms=data["took_ms"],
        is_empty=data["is_empty"],
        figures=figures or {},
    )
