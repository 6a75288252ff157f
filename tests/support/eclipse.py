"""Fifty attackers fill the address book of one peer: which honest peers does it reach by its own dials?

The peer's relations (`node.neighbours`: table, records, dialling, limits, standing) are the real ones; what
is around them is played. Honest peers never dial it, as if it sat behind a NAT, so each link is its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from p2pfed.node.effects import Dial, Disconnect, Effect, RememberPeers
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.repair import GOSSIP_MS
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import ADDRESSES_PER_PEER_MAX, PEER_RECORDS_PER_MESSAGE_MAX
from p2pfed.types.peer import PeerRecord
from p2pfed.types.validators import Validator, ValidatorSet
from p2pfed.types.wire import PeerRecords

CHAIN_ID = bytes(32)
DIAL_MS = 200  # To an honest peer; an attacker's address swallows every dial until its deadline.
DEADLINE_MS = 5_000


@dataclass
class World:
    """One peer, `honest` others and `attackers`, which are members too or strangers."""

    seed: int
    honest: int = 10
    attackers: int = 50
    are_members: bool = True
    now_ms: int = 1_000_000
    links: set[bytes] = field(default_factory=set)
    remembered: tuple[PeerRecord, ...] = ()

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        keys = [PrivateKey(self.dice.randbytes(32)) for _ in range(1 + self.honest + self.attackers)]
        self.own, self.good, self.bad = keys[0], keys[1 : self.honest + 1], keys[self.honest + 1 :]
        self.good_keys = {key.public for key in self.good}
        members = [self.own, *self.good, *(self.bad if self.are_members else ())]
        self.members = tuple(sorted(key.public for key in members))
        self.ends: list[tuple[int, Multiaddr]] = []  # Dials under way, by when they end.
        self.true_records = [self.record(key, 1, [f"10.0.0.{i + 1}"]) for i, key in enumerate(self.good)]

    def record(self, key: PrivateKey, sequence: int, hosts: list[str]) -> PeerRecord:
        texts = tuple(str(Multiaddr(host, 7400, key.public)) for host in hosts)
        unsigned = PeerRecord(key.public, sequence, texts, bytes(64))
        return PeerRecord(key.public, sequence, texts, key.sign(unsigned.digest(CHAIN_ID)))

    def lies(self) -> list[PeerRecord]:
        """Return a new record of each attacker: eight addresses, others than those before."""
        return [
            self.record(
                key,
                self.now_ms,
                [f"10.{self.dice.randrange(1, 255)}.{i}.9" for i in range(ADDRESSES_PER_PEER_MAX)],
            )
            for key in self.bad
        ]

    def start(self, contacts: list[Multiaddr]) -> None:
        """Start the peer, with what it remembers and these first contacts."""
        self.outbox: list[Effect] = []
        voters = tuple(Validator(key, 10) for key in self.members)
        validators = ValidatorSet(voters)
        self.peer = Neighbours(self.own, CHAIN_ID, self.members, validators, self.outbox)
        self.links.clear()
        self.ends.clear()
        self.peer.recall(self.remembered, contacts, self.now_ms)
        self.peer.dial(self.now_ms)
        for key in self.bad:
            self.peer.connect(key.public, None, self.now_ms)
        self.carry_out()

    def carry_out(self) -> None:
        for effect in self.outbox:
            match effect:
                case Dial():
                    address = effect.addresses[0]
                    is_honest = address.public in self.good_keys
                    self.ends.append((self.now_ms + (DIAL_MS if is_honest else DEADLINE_MS), address))
                case RememberPeers():
                    self.remembered = effect.records
                case Disconnect():
                    self.links.discard(effect.peer)
                    self.peer.disconnect(effect.peer, self.now_ms)
                case _:
                    pass
        self.outbox.clear()

    def turn(self) -> None:
        """Half a second: attackers speak first, dials end, the peer dials."""
        lies = self.lies()
        for teller in self.dice.sample(self.bad, 5):
            for start in range(0, len(lies), PEER_RECORDS_PER_MESSAGE_MAX):
                self.tell(teller.public, lies[start : start + PEER_RECORDS_PER_MESSAGE_MAX])
        due = [end for end in self.ends if end[0] <= self.now_ms]
        self.ends = [end for end in self.ends if end[0] > self.now_ms]
        for _, address in due:
            public = address.public
            if public not in self.good_keys:
                self.peer.table.dial_failed((address,), self.now_ms)
            elif self.peer.connect(public, address, self.now_ms):
                self.links.add(public)
                self.tell(public, self.true_records)
            self.carry_out()
        self.peer.tick(self.now_ms)
        self.carry_out()
        self.now_ms += GOSSIP_MS

    def tell(self, teller: bytes, records: list[PeerRecord]) -> None:
        message = PeerRecords(tuple(records))
        if self.peer.admit(teller, message, len(codec.encode(message)), self.now_ms):
            self.peer.learn(teller, message, self.now_ms)
        self.carry_out()

    def run(self, seconds: int) -> int:
        """Return how many honest peers it has links to after so many seconds."""
        for _ in range(seconds * 1_000 // GOSSIP_MS):
            self.turn()
        return len(self.links)


def honest_links(
    seed: int, *, are_members: bool, seconds: int = 60, restarts: bool = True
) -> tuple[int, int]:
    """Return the honest links after `seconds` with one honest first contact, then after a restart without."""
    world = World(seed, are_members=are_members)
    contact = Multiaddr("10.0.0.1", 7400, world.good[0].public)
    world.start([contact])
    first = world.run(seconds)
    if not restarts:
        return first, first
    world.start([])
    return first, world.run(seconds)
