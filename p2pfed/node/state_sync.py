"""Joining without history: ask for snapshots, believe one header, fetch the state after it, go on by blocks.

Nobody that is asked is trusted. The header is verified as a light client does (spec/light.md) and held
against what others show; the parts are checked against it. Spec: docs/spec/light.md, "Joining by state".
"""

from __future__ import annotations

from msgspec import Struct

from p2pfed.chain.divergence import divergence
from p2pfed.chain.light import (
    CheckpointConflict,
    Rules,
    Search,
    Trusted,
    TrustExpired,
    tell,
    trusted_checkpoint,
    verify_age,
)
from p2pfed.chain.snapshot import verify_parts
from p2pfed.errors import PeerFault
from p2pfed.node.effects import AskLightBlock, AskSnapshot, Effect, FetchSnapshot, Halt, Observe
from p2pfed.node.events import LightBlockFetched, SnapshotFetched, SnapshotOffered
from p2pfed.node.facts import SnapshotChosen
from p2pfed.node.neighbours import Neighbours
from p2pfed.types.genesis import Genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import SNAPSHOT_FORMAT, Part, Snapshot

OFFER_WAIT_MS = 2_000  # For slower peers, once one has offered a snapshot: a newer one is worth a moment.
NO_OFFER_MS = 30_000  # Nobody has a snapshot for so long: the person must decide to fetch all blocks.
ASK_AGAIN_MS = 2_000  # Until whoever had no snapshot is asked again.
WITNESSES = 2  # Other peers that shall have the same block …
WITNESS_WAIT_MS = 5_000  # … unless fewer are connected for so long: a network of two can be joined too.

Name = tuple[bytes, tuple[Part, ...]]


class SyncPlan(Struct, frozen=True):
    """Where to begin: `start` is genesis, or the person named a `checkpoint` (height, hash) instead.

    resume: The snapshot that was being fetched when this peer ended.
    """

    rules: Rules
    start: Trusted | None
    checkpoint: tuple[int, bytes] | None
    resume: Snapshot | None


class _Way(Struct):
    """A peer's way from what is trusted to the block of the snapshot's height."""

    search: Search
    block: LightBlock | None = None  # The end of it, once it is verified.


class StateSync:
    """The state of a joining peer from its start until it has a state; then it is thrown away.

    Three steps: collect offers, verify the chosen header (of one who offers it and of witnesses), fetch.
    """

    def __init__(
        self, plan: SyncPlan, genesis: Genesis, neighbours: Neighbours, outbox: list[Effect]
    ) -> None:
        self._plan = plan
        self._genesis = genesis
        self._neighbours = neighbours
        self._outbox = outbox
        self._trusted = plan.start
        self._offers: dict[bytes, Snapshot | None] = {}  # What each peer answered; None: nothing.
        self._asked_ms: dict[bytes, int] = {}  # When a question for an offer went out that is unanswered.
        self._answered_ms: dict[bytes, int] = {}
        self._refused: set[Name] = set()
        self._offered_ms: int | None = None  # When the first of these offers came.
        self._lonely_ms: int | None = None  # Since when everybody says that there is none.
        self._chosen: Snapshot | None = None
        self._chosen_ms = 0
        self._source = b""  # Whose way to the chosen block is followed.
        self._ways: dict[bytes, _Way] = {}
        self._silent: set[bytes] = set()  # Witnesses that have nothing to say of the chosen height.
        self.is_fetching = False

    # What the node tells

    def connect(self, peer: bytes, now_ms: int) -> None:
        """Ask a peer that has just come for what it offers, or as a witness."""
        self._ask(peer, now_ms)
        self._proceed(now_ms)

    def forget(self, peer: bytes, now_ms: int) -> None:
        """Drop what a peer that left has said; its offer of what is being fetched is not needed any more."""
        for known in (self._offers, self._asked_ms, self._answered_ms, self._ways):
            known.pop(peer, None)
        self._silent.discard(peer)
        if peer == self._source and self._chosen is not None and not self.is_fetching:
            self._choose_anew()
        self._proceed(now_ms)

    def tick(self, now_ms: int) -> None:
        """Let time pass: waits end, and whoever had no snapshot is asked again."""
        if self._trusted is None and not self._source:
            self._silent.clear()  # Nobody had the checkpoint: all are asked once more.
        if self._chosen is None:
            for peer in self._neighbours.table.connected_peers():
                is_empty = peer in self._offers and self._offers[peer] is None
                if is_empty and now_ms - self._answered_ms[peer] >= ASK_AGAIN_MS:
                    self._ask(peer, now_ms)
        self._proceed(now_ms)

    def take(
        self, event: SnapshotOffered | LightBlockFetched | SnapshotFetched, now_ms: int
    ) -> SnapshotFetched | None:
        """Take an answer; return it where it is the state that was asked for."""
        match event:
            case SnapshotOffered():
                self.take_offer(event.peer, event.snapshot, now_ms)
            case LightBlockFetched():
                self.take_block(event.peer, event.height, event.block, now_ms)
            case SnapshotFetched():
                return event if self.take_state(event, now_ms) else None
        return None

    def take_offer(self, peer: bytes, snapshot: Snapshot | None, now_ms: int) -> None:
        """Note what a peer offers; one that contradicts itself costs it."""
        if self._asked_ms.pop(peer, None) is None or not self._neighbours.table.is_connected(peer):
            return
        self._answered_ms[peer] = now_ms
        if snapshot is not None and snapshot.format != SNAPSHOT_FORMAT:
            snapshot = None
        try:
            if snapshot is not None:
                verify_parts(snapshot, self._genesis)
        except PeerFault as fault:
            self._blame(peer, fault, now_ms)
            return
        if snapshot is None and self._plan.resume is not None and peer not in self._offers:
            self._offers[peer] = None  # Not the one that we began with: then its newest.
            self._outbox.append(AskSnapshot(peer, 0))
            self._asked_ms[peer] = now_ms
            return
        self._offers[peer] = snapshot
        if snapshot is not None and self._offered_ms is None:
            self._offered_ms = now_ms
        self._proceed(now_ms)

    def take_block(self, peer: bytes, height: int, block: LightBlock | None, now_ms: int) -> None:
        """Take a light block: the checkpoint, a step of the chosen way, or what a witness has."""
        if not self._neighbours.table.is_connected(peer):
            return
        try:
            if self._trusted is None:
                self._take_checkpoint(peer, height, block, now_ms)
            elif self._chosen is not None and not self.is_fetching:
                self._take_step(peer, height, block, now_ms)
        except (CheckpointConflict, TrustExpired) as error:
            self._outbox.append(Halt(str(error), error.exit_code))
            return
        except PeerFault as fault:
            self._blame(peer, fault, now_ms)
        self._proceed(now_ms)

    def take_state(self, event: SnapshotFetched, now_ms: int) -> bool:
        """Answer whether this is the state that was asked for; else the search begins again."""
        if self._chosen is None or event.snapshot.name != self._chosen.name:
            return False
        if event.state is not None:
            return True
        if event.fault is not None:
            self._refused.add(self._chosen.name)
            name = self._chosen.name
            liars = [peer for peer, offer in self._offers.items() if offer is not None and offer.name == name]
            for peer in liars:
                self._blame(peer, event.fault, now_ms)
        self._offers.clear()
        self._offered_ms = None
        self._choose_anew()
        for peer in self._neighbours.table.connected_peers():
            self._ask(peer, now_ms)
        return False

    # Steps

    def _proceed(self, now_ms: int) -> None:
        """Do what can be done next."""
        if self.is_fetching:
            return
        if self._trusted is None:
            self._ask_checkpoint()
            return
        while self._chosen is None:  # Each time round one offer less: whoever's header fails is left out.
            if not self._choose(now_ms):
                return
        self._ask_witnesses()
        if self._is_believed(now_ms):
            self._fetch()

    def _ask(self, peer: bytes, now_ms: int) -> None:
        if peer in self._asked_ms:
            return
        self._asked_ms[peer] = now_ms
        resume = self._plan.resume
        is_first = peer not in self._offers and resume is not None
        self._outbox.append(AskSnapshot(peer, resume.height if is_first and resume is not None else 0))

    def _ask_checkpoint(self) -> None:
        assert self._plan.checkpoint is not None
        height, _ = self._plan.checkpoint
        if self._source not in self._neighbours.table.connected_peers():
            untried = [p for p in self._neighbours.table.connected_peers() if p not in self._silent]
            self._source = untried[0] if untried else b""
            if self._source:
                self._outbox.append(AskLightBlock(self._source, height))

    def _take_checkpoint(self, peer: bytes, height: int, block: LightBlock | None, now_ms: int) -> None:
        assert self._plan.checkpoint is not None
        wanted, value_id = self._plan.checkpoint
        if peer != self._source or height != wanted:
            return
        self._source = b""
        self._silent.add(peer)  # Nobody is asked twice for it.
        if block is not None:
            self._trusted = trusted_checkpoint(block, wanted, value_id, self._plan.rules, now_ms)
            self._silent.clear()

    def _choose(self, now_ms: int) -> bool:
        """Choose the newest snapshot, of several the one that most offer; answer whether there was one."""
        trusted = self._trusted
        assert trusted is not None
        groups: dict[Name, list[bytes]] = {}
        for peer, offer in sorted(self._offers.items()):
            if offer is not None and offer.name not in self._refused and offer.height > trusted.height:
                groups.setdefault(offer.name, []).append(peer)
        if not groups:
            self._note_nothing(now_ms)
            return False
        self._lonely_ms = None
        is_everyone_heard = not self._asked_ms
        assert self._offered_ms is not None
        if not is_everyone_heard and now_ms - self._offered_ms < OFFER_WAIT_MS:
            return False
        resume = self._plan.resume
        peers = groups.get(resume.name) if resume is not None else None
        if peers is None:
            peers = max(groups.values(), key=lambda peers: (self._height_of(peers[0]), len(peers), peers))
        self._source, self._chosen_ms = peers[0], now_ms
        self._chosen = self._offers[peers[0]]
        assert self._chosen is not None
        self._ways = {self._source: _Way(Search(trusted, self._chosen.height))}
        self._silent.clear()
        try:
            verify_age(trusted, self._plan.rules, now_ms)
            self._take_step(self._source, self._chosen.height, self._chosen.block, now_ms)
        except TrustExpired as error:
            self._outbox.append(Halt(str(error), error.exit_code))
            return False
        except PeerFault as fault:
            self._blame(self._source, fault, now_ms)
        return True

    def _note_nothing(self, now_ms: int) -> None:
        """Give up where everybody has said for long that there is no snapshot."""
        if not self._offers or self._asked_ms:
            return
        if self._lonely_ms is None:
            self._lonely_ms = now_ms
        elif now_ms - self._lonely_ms >= NO_OFFER_MS:
            self._outbox.append(
                Halt(
                    f"none of {len(self._offers)} connected peers offers a snapshot that can be used; start "
                    "with --sync blocks to fetch every block, or try again once the network is older",
                    4,
                )
            )

    def _take_step(self, peer: bytes, height: int, block: LightBlock | None, now_ms: int) -> None:
        """Follow the way of `peer` by one block.

        Raises:
            PeerFault: What it shows does not follow from what is trusted.
            TrustExpired: What is trusted is too old to judge by.
        """
        way, chosen = self._ways.get(peer), self._chosen
        assert chosen is not None
        if way is None or way.block is not None or way.search.wanted != height:
            return
        if block is None:
            self._silent.add(peer)
            del self._ways[peer]
            if peer == self._source:
                self._drop_offer(peer)
            return
        if peer != self._source and block.header.value_id == chosen.block.header.value_id:
            way.block = block  # A witness of the same block; its own way adds nothing.
            return
        way.search, verified = tell(way.search, block, self._plan.rules, now_ms)
        if way.search.wanted is not None:
            self._outbox.append(AskLightBlock(peer, way.search.wanted))
            return
        way.block = verified[-1]
        self._compare(peer, way.block)

    def _compare(self, peer: bytes, block: LightBlock) -> None:
        """Halt where two verified blocks of the height differ: the chain has forked."""
        for other, way in self._ways.items():
            if way.block is None or way.block.header.value_id == block.header.value_id:
                continue
            assert self._trusted is not None
            params_hash = self._genesis.params_hash
            for lie in divergence(self._trusted, way.block, block, params_hash).evidence:
                self._neighbours.tell_all(lie)
            self._outbox.append(
                Halt(
                    f"the chain has forked: block {block.header.height} is "
                    f"{way.block.header.value_id.hex()} at {other.hex()} and "
                    f"{block.header.value_id.hex()} at {peer.hex()}, both with a certificate; "
                    "more than a third of the stake lies: trust neither, and show this to the members",
                    7,
                )
            )
            return

    def _ask_witnesses(self) -> None:
        """Ask as many others as are wanting for the block of the chosen height."""
        assert self._chosen is not None
        assert self._trusted is not None
        height = self._chosen.height
        for peer in self._neighbours.table.connected_peers():
            waited_for = (
                sum(1 for way in self._ways.values() if way.block is None) - self._is_source_on_its_way
            )
            if len(self._confirming()) + waited_for >= WITNESSES:
                return
            if peer not in self._ways and peer not in self._silent and peer not in self._group():
                self._ways[peer] = _Way(Search(self._trusted, height))
                self._outbox.append(AskLightBlock(peer, height))

    @property
    def _is_source_on_its_way(self) -> bool:
        return self._ways[self._source].block is None

    def _is_believed(self, now_ms: int) -> bool:
        if self._chosen is None or self._source not in self._ways or self._is_source_on_its_way:
            return False
        if len(self._confirming()) >= WITNESSES:
            return True
        return now_ms - self._chosen_ms >= WITNESS_WAIT_MS

    def _fetch(self) -> None:
        assert self._chosen is not None
        self.is_fetching = True
        header, group = self._chosen.block.header, self._group()
        others = [peer for peer in self._confirming() if peer not in group]
        size = self._chosen.size
        chosen = SnapshotChosen(header.height, header.value_id, size, len(group), len(others))
        self._outbox.append(Observe(chosen))
        self._outbox.append(FetchSnapshot(self._chosen, group))

    def _group(self) -> tuple[bytes, ...]:
        """Return who offers the chosen snapshot."""
        assert self._chosen is not None
        name = self._chosen.name
        return tuple(
            p for p, offer in sorted(self._offers.items()) if offer is not None and offer.name == name
        )

    def _confirming(self) -> tuple[bytes, ...]:
        """Return who has the chosen block, but not the one whose way is followed."""
        assert self._chosen is not None
        value_id = self._chosen.block.header.value_id
        witnesses = (
            peer
            for peer, way in self._ways.items()
            if way.block is not None and way.block.header.value_id == value_id
        )
        return tuple(sorted({*self._group(), *witnesses} - {self._source}))

    def _height_of(self, peer: bytes) -> int:
        offer = self._offers[peer]
        assert offer is not None
        return offer.height

    def _blame(self, peer: bytes, fault: PeerFault, now_ms: int) -> None:
        self._neighbours.blame(peer, fault, now_ms)
        self._drop_offer(peer)
        self._ways.pop(peer, None)
        self._silent.add(peer)

    def _drop_offer(self, peer: bytes) -> None:
        """Offer no more what `peer` offered; where its way was followed, choose anew."""
        if self._offers.get(peer) is not None:
            self._offers[peer] = None
        if peer == self._source and not self.is_fetching:
            self._choose_anew()

    def _choose_anew(self) -> None:
        self._chosen, self._source, self.is_fetching = None, b"", False
        self._ways.clear()
        self._silent.clear()
