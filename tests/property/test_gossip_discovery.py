"""Peers that know one address each find everybody, on any tree, in any order, with losses and restarts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.gossip.exchange import Exchange, Outgoing
from p2pfed.gossip.peers import PeerTable
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.peer import PeerRecord
from p2pfed.types.wire import PeerRecords

CHAIN_ID = bytes(32)
TICK_MS = 1_000
KEYS = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(24)]


@dataclass
class World:
    """Peers behind one switch: a dial to a listening peer succeeds, a message may be lost or come late."""

    count: int
    dice: random.Random
    loss_percent: int = 0
    now_ms: int = 0
    down: set[int] = field(default_factory=set)
    pipes: set[frozenset[int]] = field(default_factory=set)
    queue: list[tuple[int, int, PeerRecords]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = {KEYS[index].public: index for index in range(self.count)}
        self.exchanges: dict[int, tuple[PeerTable, Exchange]] = {}
        for index in range(self.count):
            self.start(index, ())

    def start(self, index: int, remembered: tuple[PeerRecord, ...]) -> None:
        """Start the peer with what its peer file holds."""
        key = KEYS[index]
        table = PeerTable(key.public, member_keys=list(self.place))
        addresses = (str(self.address(index)),)
        sequence = self.now_ms + 1
        unsigned = PeerRecord(key.public, sequence, addresses, bytes(64))
        table.set_own(PeerRecord(key.public, sequence, addresses, key.sign(unsigned.digest(CHAIN_ID))))
        for record in remembered:
            table.learn(record, CHAIN_ID, now_ms=self.now_ms)
        self.exchanges[index] = (table, Exchange(table, CHAIN_ID))

    def address(self, index: int) -> Multiaddr:
        return Multiaddr("10.0.0.1", 7400 + index, KEYS[index].public)

    def join(self, index: int, contact: int, *, with_key: bool) -> None:
        address = self.address(contact)
        self.exchanges[index][0].add_address(address if with_key else Multiaddr(address.host, address.port))

    def stop(self, index: int) -> None:
        self.down.add(index)
        for pipe in sorted(self.pipes, key=sorted):
            if index in pipe:
                self.pipes.discard(pipe)
                for end in sorted(pipe - {index}):
                    self.exchanges[end][0].disconnected(KEYS[index].public, self.now_ms)

    def send(self, sender: int, outgoing: tuple[Outgoing, ...]) -> None:
        for item in outgoing:
            for message in item.messages:
                if self.dice.randrange(100) >= self.loss_percent:
                    self.queue.append((sender, self.place[item.peer], message))

    def dial(self, index: int, address: Multiaddr) -> None:
        other = address.port - 7400
        if other in self.down:
            self.exchanges[index][0].dial_failed((address,), self.now_ms)
            return
        pipe = frozenset((index, other))
        assert pipe not in self.pipes, "a peer dialled beside an open pipe"
        self.pipes.add(pipe)
        for end, peer, dialled in ((index, other, address), (other, index, None)):
            table, exchange = self.exchanges[end]
            assert table.connected(KEYS[peer].public, self.now_ms, dialled)
            self.send(end, exchange.greet(KEYS[peer].public))

    def turn(self) -> None:
        """Let every peer dial and tick once, deliver everything in a drawn order."""
        order = [index for index in range(self.count) if index not in self.down]
        self.dice.shuffle(order)
        for index in order:
            table, exchange = self.exchanges[index]
            for addresses in table.due_dials(self.now_ms):
                if not table.is_connected(KEYS[addresses[0].port - 7400].public):
                    self.dial(index, addresses[0])
            self.send(index, exchange.tick(self.now_ms))
        while self.queue:
            sender, receiver, message = self.queue.pop(self.dice.randrange(len(self.queue)))
            if frozenset((sender, receiver)) in self.pipes:
                received = self.exchanges[receiver][1].receive(KEYS[sender].public, message, self.now_ms)
                assert received.fault is None, "an honest peer was blamed"
                self.send(receiver, received.outgoing)
        self.now_ms += TICK_MS

    def knows_all(self, index: int) -> bool:
        return len(self.exchanges[index][0].known()) == self.count - 1

    def turns_until_all_know_all(self, turns_max: int) -> int:
        for turns in range(turns_max + 1):
            up = [index for index in range(self.count) if index not in self.down]
            if all(self.knows_all(index) for index in up):
                return turns
            self.turn()
        raise AssertionError(f"not everybody knows everybody after {turns_max} turns")


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 24), seed=st.integers(0, 2**32), with_key=st.booleans(), data=st.data())
def test_on_any_tree_of_first_contacts_everybody_learns_everybody(
    count: int, seed: int, with_key: bool, data: st.DataObject
) -> None:
    world = World(count, random.Random(seed))
    for index in range(1, count):
        world.join(index, data.draw(st.integers(0, index - 1)), with_key=with_key)
    assert world.turns_until_all_know_all(6 + count) <= 6 + count
    for _ in range(40):
        world.turn()
    assert len(world.pipes) == count * (count - 1) // 2, "one pipe for each pair"


def test_a_chain_and_a_star_are_found_in_a_few_turns() -> None:
    for contact_of in (lambda index: index - 1, lambda index: 0):
        world = World(24, random.Random(1))
        for index in range(1, 24):
            world.join(index, contact_of(index), with_key=True)
        assert world.turns_until_all_know_all(30) <= 4


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_lost_messages_only_delay_discovery(seed: int) -> None:
    world = World(8, random.Random(seed), loss_percent=40)
    for index in range(1, 8):
        world.join(index, index - 1, with_key=True)
    world.turns_until_all_know_all(400)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), dead=st.sampled_from([0, 3]))
def test_the_network_finds_itself_after_a_restart_without_its_first_contact(seed: int, dead: int) -> None:
    world = World(8, random.Random(seed))
    for index in range(1, 8):
        world.join(index, 0, with_key=False)
    world.turns_until_all_know_all(20)
    files = {index: world.exchanges[index][0].known() for index in range(8)}
    for index in range(8):
        world.stop(index)
    world.down = {dead}
    for index in range(8):
        if index != dead:
            world.start(index, files[index])
    for _ in range(4):
        world.turn()
    for index in range(8):
        if index != dead:
            assert len(world.exchanges[index][0].connected_members()) == 6


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_member_that_comes_back_later_is_found_again(seed: int) -> None:
    world = World(6, random.Random(seed))
    for index in range(1, 6):
        world.join(index, 0, with_key=True)
    world.turns_until_all_know_all(20)
    remembered = world.exchanges[4][0].known()
    world.stop(4)
    for _ in range(90):
        world.turn()
    world.down.clear()
    world.start(4, remembered)
    for _ in range(3):
        world.turn()
    assert len(world.exchanges[4][0].connected_members()) == 5
