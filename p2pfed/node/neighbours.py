"""A node's relations to other peers: pipes, records, pushes, blame. It knows nothing of heights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from p2pfed.errors import PeerFault, RateExceeded
from p2pfed.gossip.exchange import Exchange, Outgoing
from p2pfed.gossip.limits import RateLimiter
from p2pfed.gossip.peers import PeerTable
from p2pfed.gossip.seen import Seen
from p2pfed.node.effects import Blame, Dial, Disconnect, Effect, Observe, RememberPeers, Send
from p2pfed.node.facts import PeerBlamed, PeerJoined, PeerLeft
from p2pfed.node.signatures import signatures_in
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.params import ADDRESSES_PER_PEER_MAX
from p2pfed.types.peer import PeerRecord
from p2pfed.types.quality import Quality
from p2pfed.types.transaction import Transaction
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.wire import ControlMessage, PeerRecords, ProposalMessage

# Messages of a few heights of the largest network; a forgotten one is only checked twice.
SEEN_MAX = 1 << 14
_RARE = (ProposalMessage, Quality, *get_args(Evidence), *get_args(Transaction))
# What an observer is told: the block, what made it final, and what convicts. Its body has the rest.
FOLLOWED = (ProposalMessage, CommitCert, *get_args(Evidence), *get_args(Transaction))

# So many other members are pushed to directly, and nothing is passed on: a message comes once, in one hop.
# In a mesh it comes MESH_DEGREE times; that pays where an author's own sends would take too long.
DIRECT_MEMBERS_MAX = 32


class Neighbours:
    """The peer table, the exchange of records and the pushing of messages; effects go to `outbox`."""

    def __init__(
        self,
        key: PrivateKey,
        chain_id: bytes,
        member_keys: tuple[bytes, ...],
        validators: ValidatorSet,
        outbox: list[Effect],
        *,
        is_exchanging: bool = True,
    ) -> None:
        self._key = key
        self._chain_id = chain_id
        self._is_exchanging = is_exchanging  # Else it tells and learns no addresses: it dials its contacts.
        self._members = frozenset(member for member in member_keys if member != key.public)
        self.table = PeerTable(key.public, member_keys=member_keys)
        if len(self._members) <= DIRECT_MEMBERS_MAX:
            self.table.mesh_degree = max(self.table.mesh_degree, len(self._members))
        self._exchange = Exchange(self.table, chain_id)
        self._limiters: dict[bytes, RateLimiter] = {}
        self._seen = Seen(SEEN_MAX)
        self._outbox = outbox
        self._counted: tuple[tuple[bytes, ...], int] | None = None  # The members connected, and their power.
        self.set_validators(validators, validators)

    def set_validators(self, validators: ValidatorSet, coming: ValidatorSet) -> None:
        """Count the reachable power over this set from now on; who votes soon is a member already."""
        self._validators, self._counted = validators, None
        keys = frozenset(entry.key for both in (validators, coming) for entry in both.validators)
        if not keys <= self._members | {self._key.public} or not self.table.is_member(self._key.public):
            self.table.add_members(keys)
            self._members |= keys - {self._key.public}

    def awaited(self) -> frozenset[bytes]:
        """Return every other member that votes, or that a pipe leads to."""
        table, index_of = self.table, self._validators.index_of
        return frozenset(key for key in self._members if table.is_connected(key) or index_of(key) is not None)

    @property
    def connected_power(self) -> int:
        """The power of the validators that a pipe leads to, our own included."""
        members = self.table.connected_members()
        if self._counted is None or self._counted[0] is not members:
            index_of = self._validators.index_of
            indices = [index for index in map(index_of, (*members, self._key.public)) if index is not None]
            self._counted = members, self._validators.power_of(indices)
        return self._counted[1]

    def connect(self, peer: bytes, address: Multiaddr | None, now_ms: int) -> bool:
        """Note an open pipe and greet the peer; False where it is not welcome and is closed."""
        refusal = self.table.refusal(peer, now_ms)
        if refusal or not self.table.connected(peer, now_ms, address):
            self._outbox.append(Disconnect(peer, refusal))
            return False
        self._limiters[peer] = RateLimiter(now_ms)
        self._send_records(self._exchange.greet(peer))
        power = self.connected_power
        self._outbox.append(Observe(PeerJoined(peer, power, self._validators.total_power)))
        return True

    def disconnect(self, peer: bytes, now_ms: int) -> None:
        if not self.table.is_connected(peer):
            return
        self.table.disconnected(peer, now_ms)
        self._limiters.pop(peer, None)
        power = self.connected_power
        self._outbox.append(Observe(PeerLeft(peer, power, self._validators.total_power)))

    def admit(self, peer: bytes, message: ControlMessage, message_bytes: int, now_ms: int) -> bool:
        """Answer whether a message of this peer is looked at: a pipe of a welcome peer within its rates."""
        limiter = self._limiters.get(peer)
        if limiter is None:
            return False
        try:
            limiter.take(message_bytes, now_ms, signatures_in(message))
        except RateExceeded as fault:
            self.blame(peer, fault, now_ms)
            return False
        return True

    def blame(self, peer: bytes, fault: PeerFault, now_ms: int) -> None:
        """Take a fault off the peer's score; an empty score closes the pipe for a while."""
        self._outbox.append(Blame(peer, fault))
        banned_until_ms = self.table.penalise(peer, fault, now_ms)
        if banned_until_ms is not None:
            self._outbox.append(Observe(PeerBlamed(peer, str(fault))))
            self._outbox.append(Disconnect(peer, f"banned for {banned_until_ms - now_ms} ms: {fault}"))

    def learn(self, source: bytes, message: PeerRecords, now_ms: int) -> None:
        """Take in records from a peer, forward what is new, remember it and dial whom it names."""
        if not self._is_exchanging:
            return
        received = self._exchange.receive(source, message, now_ms)
        self._send_records(received.outgoing)
        if received.is_news:
            self._outbox.append(RememberPeers(self.table.known()))
            self.dial(now_ms)
        if received.fault is not None:
            self.blame(source, received.fault, now_ms)

    def recall(self, records: Iterable[PeerRecord], contacts: Iterable[Multiaddr], now_ms: int) -> None:
        """Fill the table from this peer's own peer file and from first contacts; bad records are left out."""
        for record in records if self._is_exchanging else ():
            try:
                self.table.learn(record, self._chain_id, now_ms=now_ms)
            except PeerFault:
                continue  # The file is only a memory of addresses; a damaged line costs nothing else.
        for address in contacts:
            self.table.add_address(address, now_ms)

    def announce(self, addresses: Iterable[Multiaddr], now_ms: int) -> None:
        """Sign and spread where this peer can be reached."""
        public = self._key.public
        texts = tuple(str(Multiaddr(address.host, address.port, public)) for address in addresses)
        unsigned = PeerRecord(
            public, self.table.next_sequence(now_ms), texts[:ADDRESSES_PER_PEER_MAX], bytes(64)
        )
        signature = self._key.sign(unsigned.digest(self._chain_id))
        record = PeerRecord(unsigned.key, unsigned.sequence, unsigned.addresses, signature)
        self.table.set_own(record)
        self._send_records(self._exchange.push())

    def tick(self, now_ms: int) -> None:
        """Repair lost records and dial whoever is due."""
        self._send_records(self._exchange.tick(now_ms))
        self.dial(now_ms)

    def dial(self, now_ms: int) -> None:
        self._outbox.extend(Dial(addresses) for addresses in self.table.due_dials(now_ms))

    def push(self, message: ControlMessage) -> None:
        """Send a message of our own to the mesh; a certificate, that everybody makes for itself, to a few."""
        self._seen.first_time(sha256(codec.encode(message)))
        is_everybodys = isinstance(message, PolkaCert | CommitCert)
        members = self.table.few_targets() if is_everybodys else self.table.push_targets()
        self._send(members + self._observers(message), message)

    def forward(self, source: bytes, message: ControlMessage, message_id: bytes) -> None:
        """Pass on a message that was checked, once.

        Where every member has a pipe to us and all fit into one mesh, the author has reached them itself;
        passing it on would only multiply it, and digests repair what was lost. The same holds for what an
        observer hears: its members have it. Proposals, evidence and transactions go on all the same, to a
        few: two proposals of a liar convict it only where they meet.
        """
        if not self._seen.first_time(message_id):
            return
        table = self.table
        targets = self._observers(message)
        if isinstance(message, _RARE) or not self._is_told_by_authors():
            targets += table.few_targets()
        if targets:
            self._send(tuple([peer for peer in targets if peer != source]), message)

    def _observers(self, message: ControlMessage) -> tuple[bytes, ...]:
        """Return the observers that are told of such a message."""
        return self.table.connected_observers() if isinstance(message, FOLLOWED) else ()

    def _is_told_by_authors(self) -> bool:
        """Answer whether those that our pipes lead to hear everything without us."""
        table = self.table
        reaches_all = len(table.connected_members()) == len(self._members) <= table.mesh_degree
        return reaches_all or not table.is_member(table.own)

    def has_seen(self, message_id: bytes) -> bool:
        """Answer whether this very message was pushed or passed on already."""
        return message_id in self._seen

    def tell(self, peer: bytes, message: ControlMessage) -> None:
        """Send a message to one peer."""
        self._send((peer,), message)

    def tell_all(self, message: ControlMessage) -> None:
        """Send a message to every connected peer."""
        self._send(self.table.connected_peers(), message)

    def _send(self, peers: tuple[bytes, ...], message: ControlMessage) -> None:
        if peers:
            self._outbox.append(Send(peers, message))

    def _send_records(self, outgoing: tuple[Outgoing, ...]) -> None:
        if self._is_exchanging:
            self._outbox.extend(Send((item.peer,), message) for item in outgoing for message in item.messages)
