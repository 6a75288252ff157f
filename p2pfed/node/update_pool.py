"""What a node holds of one height's updates: signed headers, checked payloads, availability votes."""

from __future__ import annotations

import operator
from collections.abc import Set
from itertools import islice

from msgspec import Struct, field

from p2pfed.chain.candidate import verify_update
from p2pfed.chain.evidence import duplicate_update
from p2pfed.chain.form import payload_form
from p2pfed.chain.invalid_update import has_valid_form, invalid_header
from p2pfed.chain.state import ChainState
from p2pfed.consensus.evidence import duplicate_avail
from p2pfed.consensus.quorum import has_quorum
from p2pfed.errors import BadSignature, OutOfBounds, PeerFault, WrongHeight
from p2pfed.node import pledges as pledging
from p2pfed.types.availability import Avail, AvailMessage, list_hash, signed_avail
from p2pfed.types.block import Body
from p2pfed.types.evidence import Evidence
from p2pfed.types.message import SignatureCheck, SignedMessage
from p2pfed.types.update import UpdateHeader

# Two updates of one trainer at one base prove the lie; a third only fills memory, unless somebody lists it.
UPDATES_PER_TRAINER_MAX = 2


class UpdatePool(Struct):
    """The updates that may stand in the block after `state`: from its model, or from one not too old.

    An update is *known* (header verified), then *held* (payload whole, valid, durable) or *refused*.
    """

    state: ChainState
    is_signed_by: SignatureCheck = SignedMessage.is_signed_by
    known: dict[bytes, UpdateHeader] = field(default_factory=dict)
    held: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    avails: dict[int, AvailMessage] = field(default_factory=dict)
    pledges: pledging.Pledges | None = None  # Only where work is paid.
    _author_bits: int = 0  # Bit i: a header of trainer i is known.
    avail_bits: int = 0  # Bit i: the vote of validator i is known.
    lies: list[Evidence] = field(default_factory=list)  # Proofs found on the way; whoever asks takes them.
    _open: set[bytes] = field(default_factory=set)  # Known, and neither held nor refused yet.
    _settled_trainers: set[bytes] = field(default_factory=set)
    _avail_power: int = 0  # Of all whose availability vote is here.
    _places: dict[bytes, int] = field(default_factory=dict)  # Of the trainers, by their keys.
    _by_base: dict[tuple[bytes, int], list[bytes]] = field(default_factory=dict)  # Of a trainer and a base.
    _equivocal: set[int] = field(default_factory=set)  # Validators whose two availability votes were found.

    def __post_init__(self) -> None:
        self._places.update((key, place) for place, key in enumerate(self.state.trainers))
        if pledging.are_asked_for(self.state):
            self.pledges = pledging.Pledges(self.state, self.is_signed_by)

    def add_header(self, header: UpdateHeader, *, is_in_block: bool = False) -> bool:
        """Verify and keep a header; False where it is known, used up, or one too many of its trainer.

        One that a validator votes to hold, or that stands in a block, is never too many: a liar that sends
        every validator another update must not keep a proposer from the headers that its block needs.

        Raises:
            PeerFault: The header is not a candidate of this height (`chain.candidate`).
        """
        update_id = header.update_id
        if update_id in self.known or self._is_used_up(header):
            return False
        place = (header.trainer, header.base_height)
        owned = self._by_base.get(place, [])
        is_one_too_many = len(owned) >= UPDATES_PER_TRAINER_MAX
        if is_one_too_many and not is_in_block and not self._is_listed(update_id):
            return False
        try:
            verify_update(self.state, header, self.is_signed_by)
        except OutOfBounds:
            self._accuse_of_form(header)
            raise
        self.known[update_id] = header
        self._open.add(update_id)
        self._by_base[place] = owned  # Not before it is verified: names cost a stranger nothing.
        owned.append(update_id)
        self._author_bits |= 1 << self._places[header.trainer]
        if len(owned) == UPDATES_PER_TRAINER_MAX:
            self.lies.append(duplicate_update(self.known[owned[0]], header))
        return True

    def _is_used_up(self, header: UpdateHeader) -> bool:
        """Answer whether a block of the window has taken this update: who has not seen it is not to blame."""
        is_older = self.state.oldest_base <= header.base_height < self.state.height
        return is_older and header.base_height <= self.state.ledger.training.last_base(header.trainer)

    def carry(self, before: UpdatePool) -> None:
        """Take over what the pool of an earlier height holds and this block may still carry."""
        if self.pledges is not None and before.pledges is not None:
            self.pledges.carry(before.pledges)
        for update_id in sorted(before.known):
            header = before.known[update_id]
            if self.state.base_of(header.base_height) is None:
                continue
            try:
                is_new = self.add_header(header)
            except PeerFault:  # The trainer has been convicted since.
                continue
            if is_new and before.is_settled(update_id):
                self.settle(update_id, is_valid=update_id in before.held)

    def _accuse_of_form(self, header: UpdateHeader) -> None:
        """E5: a trainer that signs another length or codec than the model's has lied, whoever sent it on."""
        state = self.state
        is_ours = header.trainer in state.trainers and not has_valid_form(header, payload_form(state.genesis))
        if is_ours and header.is_signed_by(header.trainer, state.chain_id):
            self.lies.append(invalid_header(header))

    def settle(self, update_id: bytes, *, is_valid: bool) -> None:
        """Note that the payload of a known update is durable here, or that it breaks the static rules."""
        assert update_id in self.known
        (self.held if is_valid else self.refused).add(update_id)
        self._open.discard(update_id)
        self._settled_trainers.add(self.known[update_id].trainer)

    def is_settled(self, update_id: bytes) -> bool:
        return update_id in self.held or update_id in self.refused

    def add_avail(self, message: AvailMessage) -> bool:
        """Verify and keep an availability vote; False where this validator's is known.

        A validator's first vote stays: a second one that says something else is a lie, and never replaces it.

        Raises:
            PeerFault: Wrong height, attempt, validator, list or signature.
        """
        avail, validators = message.avail, self.state.validators
        if avail.height != self.state.next_height:
            raise WrongHeight(f"availability vote for height {avail.height} at {self.state.next_height}")
        if avail.validator_index >= len(validators):
            raise OutOfBounds(f"validator {avail.validator_index} of {len(validators)}")
        known = self.avails.get(avail.validator_index)
        if known is not None:
            self._compare(known.avail, avail)
            return False
        if avail.attempt != 0:
            raise OutOfBounds(f"attempt {avail.attempt} of an availability vote")
        ids = message.update_ids
        if any(map(operator.ge, ids, islice(ids, 1, None))):
            raise OutOfBounds("the list of an availability vote is not ascending")
        if avail.count != len(ids) or avail.list_hash != list_hash(ids):
            raise OutOfBounds(f"an availability vote over {avail.count} ids came with another list")
        if avail.time_ms <= self.state.time_ms:
            raise OutOfBounds(f"availability vote of time {avail.time_ms}, not after {self.state.time_ms}")
        key = validators.validators[avail.validator_index].key
        if not self.is_signed_by(avail, key, self.state.chain_id):
            raise BadSignature(f"availability vote of validator {avail.validator_index}")
        self.avails[avail.validator_index] = message
        self.avail_bits |= 1 << avail.validator_index
        self._avail_power += validators.validators[avail.validator_index].power
        return True

    def compare_avails(self, body: Body, index: int | None = None) -> None:
        """Hold the availability votes of a verified body against those that came by themselves (E7).

        With an `index` only the vote of that validator, which came after the body.
        """
        for entry in body.avails:
            if index not in (None, entry.validator_index):
                continue
            known = self.avails.get(entry.validator_index)
            if known is not None and known.avail.signature != entry.signature:
                self._compare(known.avail, signed_avail(self.state.next_height, body.candidates, entry))

    def _compare(self, known: Avail, other: Avail) -> None:
        """E7: two votes of one validator and attempt that say something else; found once for each."""
        index = known.validator_index
        if index in self._equivocal or known.attempt != other.attempt or known.body() == other.body():
            return
        if other.is_signed_by(self.state.validators.validators[index].key, self.state.chain_id):
            self._equivocal.add(index)
            self.lies.append(duplicate_avail(known, other))

    def has_avail_quorum(self) -> bool:
        """Answer whether availability votes of more than two thirds of the power are here."""
        return has_quorum(self._avail_power, self.state.validators.total_power)

    def held_ids(self) -> tuple[bytes, ...]:
        """Return the ids an availability vote of ours may list, ascending: held, and pledged in time."""
        return tuple(sorted(update_id for update_id in self.held if self.is_due(self.known[update_id])))

    def is_due(self, header: UpdateHeader) -> bool:
        """Answer whether this block is to have an update: always, unless pledges are asked for."""
        pledges = self.pledges
        return pledges is None or pledges.is_due(header.trainer, header.base_height, header.update_id)

    @property
    def update_bits(self) -> int:
        """Return as bits over the trainers from whom nothing is lacked now, as digests say it."""
        if self.pledges is None:
            return self._author_bits
        pledged = sum(1 << self._places[trainer] for trainer in self.pledges.trainers)
        return pledged if self.pledges.is_open else pledged & self._author_bits

    def settled_trainers(self) -> Set[bytes]:
        """Return the trainers that there is nothing to wait for: a payload of theirs is held or refused."""
        return self._settled_trainers

    def unserved(self) -> tuple[UpdateHeader, ...]:
        """Return the headers whose payload has neither come nor been refused, ascending by id."""
        return tuple(self.known[update_id] for update_id in sorted(self._open))

    def held_but_not_listed(self, message: AvailMessage) -> tuple[UpdateHeader, ...]:
        """Return the headers of what we hold and the voter of `message` does not, ascending by id."""
        listed = frozenset(message.update_ids)
        return tuple(self.known[update_id] for update_id in self.held_ids() if update_id not in listed)

    def _is_listed(self, update_id: bytes) -> bool:
        return any(update_id in message.update_ids for message in self.avails.values())

    def holders_of(self, header: UpdateHeader) -> tuple[bytes, ...]:
        """Return the keys that should hold a payload: its trainer, then who voted that it does."""
        if not self.avails:
            return (header.trainer,)
        validators, update_id = self.state.validators.validators, header.update_id
        voters = [
            validators[index].key
            for index, message in sorted(self.avails.items())
            if update_id in message.update_ids
        ]
        return tuple(dict.fromkeys((header.trainer, *voters)))
