"""The peer table: who is there, where they listen, whom to dial next, and who misbehaved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from p2pfed.errors import PeerFault
from p2pfed.gossip.dialling import (
    DIAL_DEADLINE_MS,
    DIALS_AT_ONCE_MAX,
    PIPE_STABLE_MS,
    PORTION_MS,
    Dialling,
    backoff_ms,
    head_start_ms,
)
from p2pfed.gossip.mesh import MESH_DEGREE, Pipes
from p2pfed.gossip.records import verify_record
from p2pfed.gossip.standing import Standing
from p2pfed.primitives.digest import tagged
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import (
    ADDRESSES_PER_PEER_MAX,
    PARTICIPANTS_MAX,
    PEER_RECORDS_PER_MESSAGE_MAX,
    PEERS_KNOWN_MAX,
)
from p2pfed.types.peer import PeerRecord
from p2pfed.types.wire import PeerRecords

DIGESTS_AT_ONCE = 2  # In a network with more members than a mesh: what one answer lacks the other has.
OBSERVERS_MAX = 64  # Keys cost nothing, so pipes of keys that genesis doesn't list are few.
OBSERVER_PORTION_MS = 1_000  # Then the first are answered: an observer does not dial more than it needs.
OBSERVER_PIPES = 3  # An observer follows a few members: one of them may be silent, slow or lie.
STRANGERS_KNOWN_MAX = PEERS_KNOWN_MAX - PARTICIPANTS_MAX  # Observers and first contacts that we keep in mind.
CONTACTS_MAX = 64  # Addresses from --join and seeds whose key is unknown.
RECORD_INTERVAL_MS = 1_000  # A member that signs new records all the time is forwarded once a second.


class _Peer(Struct):
    """All that is known of one key."""

    is_member: bool
    record: PeerRecord | None = None
    addresses: tuple[Multiaddr, ...] = ()  # Of the record.
    contacts: tuple[Multiaddr, ...] = ()  # By hand: --join, seeds.
    version: int = 0  # Number of the record in the order of learning; 0 without one.
    source: bytes | None = None  # Who told us the record: it need not be told back.
    learned_ms: int = 0
    connected_ms: int | None = None
    told: int = 0  # This peer was told of every record up to this version.
    dialling: Dialling = field(default_factory=Dialling)
    standing: Standing = field(default_factory=Standing)

    def dial_addresses(self) -> tuple[Multiaddr, ...]:
        """Return what to dial, by hand first: that is what the operator knows to work from here."""
        if not self.contacts:
            return self.addresses
        return self.contacts + tuple(address for address in self.addresses if address not in self.contacts)


class PeerRow(Struct, frozen=True):
    """What a person may want to see of one peer."""

    key: bytes
    is_member: bool
    is_connected: bool
    score: int
    banned_until_ms: int
    addresses: tuple[str, ...]
    attempts: int
    next_dial_ms: int | None


class PeerTable:
    """The peers of one network as `own` knows them.

    Members are the keys of genesis and whoever votes. They are dialled for ever and their records are kept
    and spread; who was one stays one until the next start. Any other key may connect and follow as an
    observer; observers dial, nobody dials them, so their records are not kept. All times are in ms of one
    clock of the caller.
    """

    def __init__(self, own: bytes, *, member_keys: Iterable[bytes]) -> None:
        self.own = own
        self.mesh_degree = MESH_DEGREE  # As many as there are members: pushed directly, never passed on.
        self._digest_turn = 0
        members = frozenset(member_keys)
        self._peers = {key: _Peer(is_member=True) for key in sorted(members) if key != own}
        self._is_observer = own not in members
        self._contacts: dict[Multiaddr, Dialling] = {}  # Addresses without a key.
        self._own_record: PeerRecord | None = None
        self._own_version = 0
        self._own_sequence = 0  # The largest that our key ever signed, as far as we know.
        self._version = 0
        self._learned: dict[bytes, None] = {}  # Keys with a record, ascending by its version.
        self._known_pipes: Pipes | None = None

    def add_members(self, keys: Iterable[bytes]) -> None:
        """Note new members; one that is connected as an observer stays connected."""
        self._known_pipes = None
        for key in sorted(frozenset(keys)):
            if key == self.own:
                self._is_observer = False
            elif key in self._peers:
                self._peers[key].is_member = True
            else:
                self._peers[key] = _Peer(is_member=True)

    # Pipes

    def refusal(self, peer: bytes, now_ms: int) -> str:
        """Return why a pipe to `peer` is not wanted, one clause for the log; "" where it is welcome."""
        if peer == self.own:
            return "it has our own key"
        known = self._peers.get(peer)
        if known is not None and known.standing.is_banned(now_ms):
            return f"banned for {known.standing.banned_until_ms - now_ms} ms more"
        is_counted = known is not None and (known.is_member or known.connected_ms is not None)
        if not is_counted and len(self.connected_observers()) >= OBSERVERS_MAX:
            return f"{OBSERVERS_MAX} observers are connected already"
        return ""

    def connected(self, peer: bytes, now_ms: int, address: Multiaddr | None = None) -> bool:
        """Note an open pipe. False: it is not wanted (see `refusal`), the caller closes it.

        `address` is where it was dialled, if we dialled it: that names a first contact without a key.
        """
        if self.refusal(peer, now_ms):
            return False
        known = self._known(peer)
        assert known is not None
        self._known_pipes = None
        known.connected_ms = now_ms  # A second pipe replaces the first.
        known.told = 0
        if address is not None:
            self._name_contact(Multiaddr(address.host, address.port), peer)
        return True

    def disconnected(self, peer: bytes, now_ms: int) -> None:
        """Note a closed pipe; the peer is dialled again, at once only where the pipe was stable."""
        known = self._peers.get(peer)
        if known is None or known.connected_ms is None:
            return
        if now_ms - known.connected_ms >= PIPE_STABLE_MS:
            known.dialling.attempt = 0
        self._known_pipes, known.connected_ms = None, None
        attempt = known.dialling.attempt
        wait_ms = head_start_ms(self.own, peer) + (backoff_ms(self.own, peer, attempt - 1) if attempt else 0)
        known.dialling.due_ms = max(known.standing.banned_until_ms, now_ms + wait_ms)

    def is_connected(self, peer: bytes) -> bool:
        known = self._peers.get(peer)
        return known is not None and known.connected_ms is not None

    def is_member(self, peer: bytes) -> bool:
        known = self._peers.get(peer)
        return not self._is_observer if peer == self.own else known is not None and known.is_member

    def connected_peers(self) -> tuple[bytes, ...]:
        """Return every peer with an open pipe, in ascending order."""
        return tuple(sorted(self.connected_members() + self.connected_observers()))

    def connected_members(self) -> tuple[bytes, ...]:
        """Return the members with an open pipe, in ascending order."""
        return self._pipes.members

    def connected_observers(self) -> tuple[bytes, ...]:
        """Return every other peer with an open pipe, in ascending order."""
        return self._pipes.observers

    def push_targets(self) -> tuple[bytes, ...]:
        """Return the members to push a new message to, in ascending order.

        Observers take no place in the mesh: with keys made to measure they would sit between members.
        """
        return self._pipes.mesh(self.mesh_degree)

    def few_targets(self) -> tuple[bytes, ...]:
        """Return the members to push to what others push as well: at most MESH_DEGREE."""
        return self._pipes.mesh(min(MESH_DEGREE, self.mesh_degree))

    def digest_targets(self) -> tuple[bytes, ...]:
        """Return whom to tell this time what we hold: a small mesh whole, a few in turn of a large one.

        Everyone who is told answers with what we lack, so more of them would send the same again.
        """
        members = self.few_targets()
        if len(members) >= MESH_DEGREE:
            self._digest_turn += DIGESTS_AT_ONCE
            twice, start = members + members, self._digest_turn % len(members)
            members = twice[start : start + DIGESTS_AT_ONCE]
        return tuple(sorted(members + self.connected_observers()))

    # Records

    def set_own(self, record: PeerRecord) -> None:
        """Announce our own addresses; everyone is told with the next `news_for`."""
        assert record.key == self.own
        assert record.sequence >= self._own_sequence
        self._own_record = record
        self._own_sequence = record.sequence
        self._own_version = self._next_version()

    def next_sequence(self, now_ms: int) -> int:
        """Return the sequence for our next record: the time, or more where an older clock was ahead of it."""
        return max(now_ms, self._own_sequence + 1)

    def learn(
        self, record: PeerRecord, chain_id: bytes, *, source: bytes | None = None, now_ms: int = 0
    ) -> bool:
        """Take in a record; answer whether it was news that is worth forwarding.

        `source` is the peer that sent it (None: our own peer file). Our own record coming back, an
        observer's, an old one and one too soon after the last are no fault, they are just no news.

        Raises:
            PeerFault: The record is not what its key can have signed: whoever forwarded it did not check it.
        """
        if record.key == self.own:
            if record.sequence > self._own_sequence:
                verify_record(record, chain_id)
                self._own_sequence = record.sequence
            return False
        known = self._peers.get(record.key)
        if known is None or not known.is_member:
            return False
        if known.record is not None:
            if record.sequence <= known.record.sequence:
                return False
            if source is not None and now_ms - known.learned_ms < RECORD_INTERVAL_MS:
                return False
        addresses = verify_record(record, chain_id)
        if addresses != known.addresses:
            known.dialling = Dialling(0, now_ms + head_start_ms(self.own, record.key))
        known.record, known.addresses, known.source = record, addresses, source
        known.learned_ms, known.version = now_ms, self._next_version()
        self._learned.pop(record.key, None)
        self._learned[record.key] = None
        for address in addresses:
            self._name_contact(Multiaddr(address.host, address.port), record.key)
        return True

    def add_address(self, address: Multiaddr, now_ms: int = 0) -> None:
        """Add a first contact (--join, seeds): an address without a record, perhaps without a key."""
        if address.public is None:
            if len(self._contacts) < CONTACTS_MAX:
                self._contacts.setdefault(address, Dialling(0, now_ms))
            return
        if address.public == self.own:
            return
        known = self._known(address.public)
        if known is None or address in known.contacts:
            return
        if not known.dial_addresses():
            known.dialling = Dialling(0, now_ms + head_start_ms(self.own, address.public))
        known.contacts = (*known.contacts, address)[:ADDRESSES_PER_PEER_MAX]

    def records_for(self, peer: bytes) -> tuple[PeerRecords, ...]:
        """Return all records for a peer that has just connected (or may have lost some), our own first."""
        known = self._peers.get(peer)
        if known is not None:
            known.told = 0
        return self.news_for(peer)

    def news_for(self, peer: bytes) -> tuple[PeerRecords, ...]:
        """Return the records that `peer` was not told yet, in portions of one message; it counts as told.

        What came from `peer` itself and its own record are left out. Nothing for a peer without a pipe.
        """
        target = self._peers.get(peer)
        if target is None or target.connected_ms is None:
            return ()
        fresh: list[PeerRecord] = []
        for key in reversed(self._learned):
            known = self._peers[key]
            if known.version <= target.told:
                break
            if known.record is not None and peer not in (key, known.source):
                fresh.append(known.record)
        fresh.sort(key=lambda record: record.key)
        if self._own_record is not None and self._own_version > target.told:
            fresh.insert(0, self._own_record)
        target.told = self._version
        size = PEER_RECORDS_PER_MESSAGE_MAX
        return tuple(PeerRecords(tuple(fresh[start : start + size])) for start in range(0, len(fresh), size))

    def known(self) -> tuple[PeerRecord, ...]:
        """Return the members' records, ascending by key: what to remember for the next start."""
        records = [known.record for known in self._peers.values() if known.record is not None]
        return tuple(sorted(records, key=lambda record: record.key))

    # Dialling

    def due_dials(self, now_ms: int) -> tuple[tuple[Multiaddr, ...], ...]:
        """Return whom to dial now, each by all its addresses, and count it as an attempt.

        The caller reports the end by `connected` or `dial_failed`; an attempt that nobody reports on ends by
        itself after DIAL_DEADLINE_MS.
        """
        order = self._own_order if self._is_observer else bytes
        due = sorted(
            (
                (dialling.due_ms, order(name), name, dialling, addresses)
                for name, dialling, addresses in self._dialable()
                if dialling.due_ms <= now_ms
            ),
            key=lambda item: item[:2],
        )
        at_once, wait_ms = DIALS_AT_ONCE_MAX, PORTION_MS
        if self._is_observer:
            at_once, wait_ms = OBSERVER_PIPES - len(self.connected_members()), OBSERVER_PORTION_MS
        for _, _, _, dialling, _ in due[at_once:]:
            dialling.due_ms = now_ms + wait_ms
        for _, _, name, dialling, _ in due[:at_once]:
            wait_ms = backoff_ms(self.own, name, dialling.attempt)
            dialling.attempt += 1
            dialling.due_ms = now_ms + max(wait_ms, DIAL_DEADLINE_MS)
        return tuple(addresses for *_, addresses in due[:at_once])

    def dial_failed(self, addresses: tuple[Multiaddr, ...], now_ms: int) -> None:
        """Note that a dial of `due_dials` ended without a pipe: the next comes after the backoff alone."""
        if not addresses:
            return
        public = addresses[0].public
        if public is None:
            dialling = self._contacts.get(addresses[0])
            name = str(addresses[0]).encode()
        else:
            known = self._peers.get(public)
            dialling, name = (None if known is None else known.dialling), public
        if dialling is not None and dialling.attempt:
            dialling.due_ms = now_ms + backoff_ms(self.own, name, dialling.attempt - 1)

    def next_due_ms(self, now_ms: int) -> int | None:
        """Return when `due_dials` next has something, `now_ms` or later; None: nobody is to be dialled."""
        due = [dialling.due_ms for _, dialling, _ in self._dialable()]
        return max(now_ms, min(due)) if due else None

    # Standing

    def penalise(self, peer: bytes, fault: PeerFault, now_ms: int) -> int | None:
        """Take the fault off the peer's score. None: carry on; else disconnect it, banned until then."""
        known = self._known(peer)
        if known is None or peer == self.own:
            return None
        banned_until_ms = known.standing.penalise(fault.penalty, now_ms)
        if banned_until_ms is not None:
            known.dialling.due_ms = max(known.dialling.due_ms, banned_until_ms)
        return banned_until_ms

    def rows(self, now_ms: int) -> tuple[PeerRow, ...]:
        """Return every known peer for display, members first, ascending by key."""
        dialable = {name: dialling for name, dialling, _ in self._dialable()}
        rows = []
        for key, known in sorted(self._peers.items(), key=lambda item: (not item[1].is_member, item[0])):
            known.standing.recover(now_ms)
            next_dial_ms = dialable[key].due_ms if key in dialable else None
            addresses = tuple(str(address) for address in known.dial_addresses())
            standing, is_connected = known.standing, known.connected_ms is not None
            rows.append(
                PeerRow(
                    key,
                    known.is_member,
                    is_connected,
                    standing.score,
                    standing.banned_until_ms if standing.is_banned(now_ms) else 0,
                    addresses,
                    known.dialling.attempt,
                    next_dial_ms,
                )
            )
        return tuple(rows)

    # Inside

    @property
    def _pipes(self) -> Pipes:
        """Who has a pipe to us: asked for with every message, and changed by few."""
        if self._known_pipes is None:
            is_member = {
                key: known.is_member for key, known in self._peers.items() if known.connected_ms is not None
            }
            self._known_pipes = Pipes(self.own, is_member)
        return self._known_pipes

    def _own_order(self, name: bytes) -> bytes:
        """Put members in an order of our own, so that observers don't all follow the same ones."""
        return tagged("follow", self.own + name)

    def _known(self, peer: bytes) -> _Peer | None:
        """Return the entry of `peer`, made where it is new; None where there is no room for a stranger."""
        if peer == self.own:
            return None
        known = self._peers.get(peer)
        if known is None:
            strangers = [key for key, entry in self._peers.items() if not entry.is_member]
            if len(strangers) >= STRANGERS_KNOWN_MAX:
                idle = [
                    k
                    for k in strangers
                    if self._peers[k].connected_ms is None and not self._peers[k].contacts
                ]
                if not idle:
                    return None
                del self._peers[idle[0]]  # The one known longest; its score is forgotten with it.
            known = self._peers[peer] = _Peer(is_member=False)
        return known

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    def _name_contact(self, address: Multiaddr, peer: bytes) -> None:
        """Give a first contact its key, now that it is known, so that it is never dialled beside a pipe."""
        if self._contacts.pop(address, None) is not None:
            self.add_address(Multiaddr(address.host, address.port, peer))

    def _dialable(self) -> Iterator[tuple[bytes, Dialling, tuple[Multiaddr, ...]]]:
        """Yield (name, attempts, addresses) of whoever should be dialled some time.

        Members always. First contacts that are no members, or whose key is unknown, only while they can help:
        while no member is connected, or one has neither pipe nor address. An observer stops at a few pipes.
        """
        pipes = len(self.connected_members())
        if self._is_observer and pipes >= OBSERVER_PIPES:
            return
        apart = [(key, known) for key, known in self._peers.items() if known.connected_ms is None]
        needs_contacts = not pipes or any(
            known.is_member and not known.dial_addresses() for _, known in apart
        )
        for key, known in apart:
            addresses = known.dial_addresses()
            if addresses and (known.is_member or needs_contacts):
                yield key, known.dialling, addresses
        if needs_contacts:
            for address, dialling in self._contacts.items():
                yield str(address).encode(), dialling, (address,)
