"""A network of real keys on a tiny model, whose blocks are built, certified and applied without any wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from p2pfed.aggregation.payload import encode_payload
from p2pfed.chain.evidence import duplicate_update
from p2pfed.chain.form import payload_form
from p2pfed.chain.invalid_update import opening
from p2pfed.chain.propose import ProposalInputs, build
from p2pfed.chain.roles import parse_roles
from p2pfed.chain.state import ChainState, genesis_state
from p2pfed.consensus.certificates import commit_cert
from p2pfed.consensus.evidence import duplicate_avail, duplicate_proposal, duplicate_vote
from p2pfed.consensus.proposer import proposer_index
from p2pfed.primitives import codec
from p2pfed.primitives.digest import ZERO_DIGEST, sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root
from p2pfed.types.availability import Avail, AvailMessage, list_hash
from p2pfed.types.block import Block, Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import (
    Amnesia,
    DuplicateAvail,
    DuplicateProposal,
    DuplicateUpdate,
    DuplicateVote,
    Evidence,
    InvalidUpdate,
    LightClientAttack,
)
from p2pfed.types.genesis import Genesis, Params, Participant, first_model
from p2pfed.types.message import SignedMessage
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState
from p2pfed.types.proposal import Proposal
from p2pfed.types.transaction import Bond, Transfer, Unbond, Unjail
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote

NO_SIGNATURE = bytes(64)
GENESIS_TIME_MS = 1_700_000_000_000
BALANCE = 1000


def private_keys(count: int) -> list[PrivateKey]:
    """Return keys whose public keys ascend."""
    keys = [PrivateKey((number + 1).to_bytes(32, "big")) for number in range(count)]
    return sorted(keys, key=lambda key: key.public)


def signed(message: Any, key: PrivateKey, chain_id: bytes) -> Any:
    """Return `message` with `key`'s signature in place of its own."""
    assert isinstance(message, SignedMessage)
    return msgspec.structs.replace(message, signature=key.sign(message.digest(chain_id)))


def small_manifest() -> Manifest:
    """Return a model of two arrays: d = 16 in two groups."""
    return Manifest(
        (
            ArraySpec("weight", (3, 4), "float32", "trained", nonnegative=False),
            ArraySpec("bias", (4,), "float32", "trained", nonnegative=False),
        )
    )


def small_model() -> ModelState:
    """Return the model that `make_genesis` names."""
    weights = np.arange(-8, 8, dtype=np.int32) * 12_345
    return ModelState(weights, np.array([14, 15], np.int8), np.array([20, 21], np.int8))


def make_genesis(bonds: Sequence[int], *, roles: Sequence[str] = (), **changes: Any) -> Genesis:
    """Return a genesis of one participant a bond; `changes` go to its params or, by name, to itself.

    Roles are dealt out as `chain.roles` spells them.
    """
    model = small_model()
    params = Params("local", ("clip_nnm_trimmed_mean",), 2, 12, 4, 0)
    names = {field.name for field in msgspec.structs.fields(Params)}
    for_params = {name: value for name, value in changes.items() if name in names}
    others = {name: value for name, value in changes.items() if name not in names}
    genesis = Genesis(
        version=1,
        name="small",
        time_ms=GENESIS_TIME_MS,
        transport="memory",
        params=msgspec.structs.replace(params, **for_params),
        participants=tuple(
            Participant(key.public, bond, BALANCE, role)
            for key, bond, role in zip(
                private_keys(len(bonds)), bonds, parse_roles(roles, len(bonds)), strict=True
            )
        ),
        manifest=small_manifest(),
        model_root=model.root,
        update_exponents=tuple(model.update_exponents.tolist()),
        model_exponents=tuple(model.model_exponents.tolist()),
        evaluation_root=EMPTY_ROOT,
    )
    genesis = msgspec.structs.replace(genesis, model_root=first_model(genesis, model.weights).root)
    return msgspec.structs.replace(genesis, **others)


class World:
    """All the participants of one network and the chain they have agreed on."""

    def __init__(self, bonds: Sequence[int], **changes: Any) -> None:
        self.genesis = make_genesis(bonds, **changes)
        self.keys = {key.public: key for key in private_keys(len(bonds))}
        self.state: ChainState = genesis_state(self.genesis, first_model(self.genesis, small_model().weights))
        self.last_commit: CommitCert | None = None
        self.payloads: dict[bytes, Int16Vector] = {}
        self.blobs: dict[bytes, bytes] = {}  # Their bytes.

    @property
    def publics(self) -> list[bytes]:
        return sorted(self.keys)

    def key(self, validator: int) -> PrivateKey:
        """Return the key of a validator of the next height."""
        return self.keys[self.state.validators.validators[validator].key]

    def sign(self, message: Any, key: PrivateKey) -> Any:
        return signed(message, key, self.genesis.chain_id)

    def payload(self, header: UpdateHeader) -> Int16Vector:
        return self.payloads[header.update_id]

    def update(
        self, trainer: int, /, seed: int = 0, base: ChainState | None = None, **changes: Any
    ) -> UpdateHeader:
        """Return the signed update of participant `trainer`, hold its payload; `base` is an older state."""
        base, key = base or self.state, self.keys[self.publics[trainer]]
        dice = np.random.default_rng([trainer, seed, base.height])
        values = dice.integers(-3000, 3000, self.genesis.manifest.size).astype(np.int16)
        form = payload_form(self.genesis)
        data = form.encode(values, base.seed)
        values = form.decode(data, base.seed)
        header = UpdateHeader(
            trainer=key.public,
            base_height=base.height,
            base_model_root=base.model_root,
            payload_bytes=len(data),
            payload_root=chunk_root(data),
            codec=form.number,
            examples=10 + trainer,
            signature=NO_SIGNATURE,
        )
        header = self.sign(msgspec.structs.replace(header, **changes), key)
        self.payloads[header.update_id], self.blobs[header.update_id] = values, data
        return header

    def updates(self) -> tuple[UpdateHeader, ...]:
        """Return an update of everybody who may train."""
        return tuple(self.update(self.publics.index(key)) for key in self.state.trainers)

    def avail(self, validator: int, held: Iterable[UpdateHeader | bytes], **changes: Any) -> AvailMessage:
        """Return the availability vote of `validator` for updates or ids."""
        ids = tuple(sorted(item if isinstance(item, bytes) else item.update_id for item in held))
        avail = Avail(
            height=self.state.next_height,
            attempt=0,
            validator_index=validator,
            list_hash=list_hash(ids),
            count=len(ids),
            time_ms=self.state.time_ms + 100 + validator,
            signature=NO_SIGNATURE,
        )
        avail = self.sign(msgspec.structs.replace(avail, **changes), self.key(validator))
        return AvailMessage(avail, ids)

    def avails(self, held: Sequence[UpdateHeader]) -> tuple[AvailMessage, ...]:
        """Return the votes of all validators, each of whom holds all of `held`."""
        return tuple(self.avail(validator, held) for validator in range(len(self.state.validators)))

    def proposer(self, round0: int = 0) -> bytes:
        validators = self.state.validators
        place = proposer_index(validators, self.genesis.chain_id, self.state.next_height, round0)
        return validators.validators[place].key

    def inputs(self, round0: int = 0, **changes: Any) -> ProposalInputs:
        """Return what the proposer of `round0` holds when everybody trained and holds everything."""
        headers = changes.pop("headers") if "headers" in changes else self.updates()
        held = {
            "proposer": self.proposer(round0),
            "avails": self.avails(headers),
            "headers": headers,
            "transactions": (),
            "evidence": (),
            "last_commit": self.last_commit,
        }
        return ProposalInputs(**(held | changes))

    def build(self, round0: int = 0, **changes: Any) -> tuple[Header, Body, ChainState]:
        return build(self.state, self.inputs(round0, **changes), round0, self.payload)

    def certify(self, header: Header, signers: Sequence[int] | None = None) -> CommitCert:
        """Return a commit certificate of the next height, signed by everybody or by `signers`."""
        validators = self.state.validators
        votes = [
            self.sign(
                Precommit(self.state.next_height, 0, header.value_id, place, NO_SIGNATURE), self.key(place)
            )
            for place in (range(len(validators)) if signers is None else signers)
        ]
        return commit_cert(votes, validators)

    def advance(self, **changes: Any) -> Block:
        """Build, certify and apply one block."""
        header, body, after = self.build(**changes)
        block = Block(header, body, self.certify(header))
        self.last_commit, self.state = block.commit, after
        return block

    def transfer(self, sender: int, recipient: int, amount: int, fee: int, nonce: int) -> Transfer:
        publics = self.publics
        transfer = Transfer(publics[sender], publics[recipient], amount, fee, nonce, NO_SIGNATURE)
        return self.sign(transfer, self.keys[publics[sender]])

    def bond(self, sender: int, amount: int, fee: int, nonce: int) -> Bond:
        public = self.publics[sender]
        return self.sign(Bond(public, amount, fee, nonce, NO_SIGNATURE), self.keys[public])

    def unbond(self, sender: int, amount: int, fee: int, nonce: int) -> Unbond:
        public = self.publics[sender]
        return self.sign(Unbond(public, amount, fee, nonce, NO_SIGNATURE), self.keys[public])

    def unjail(self, sender: int, fee: int, nonce: int) -> Unjail:
        public = self.publics[sender]
        return self.sign(Unjail(public, fee, nonce, NO_SIGNATURE), self.keys[public])

    def double_vote(self, validator: int, height: int | None = None) -> DuplicateVote:
        """Return proof that a validator of the next height prevoted twice at `height`."""
        at = self.state.next_height if height is None else height
        first, second = (
            self.sign(Prevote(at, 0, value, -1, validator, NO_SIGNATURE), self.key(validator))
            for value in (sha256(b"one"), None)
        )
        return duplicate_vote(first, second)

    def double_proposal(self, validator: int) -> DuplicateProposal:
        """Return proof that a validator of the next height proposed twice."""
        first, second = (
            self.sign(
                Proposal(self.state.next_height, 0, sha256(value), -1, validator, NO_SIGNATURE),
                self.key(validator),
            )
            for value in (b"one", b"two")
        )
        return duplicate_proposal(first, second)

    def amnesia(self, validator: int) -> Amnesia:
        """Return proof that a validator of the next height forgot what it precommitted."""
        height, key = self.state.next_height, self.key(validator)
        precommit = self.sign(Precommit(height, 1, sha256(b"one"), validator, NO_SIGNATURE), key)
        prevote = self.sign(Prevote(height, 2, sha256(b"two"), 0, validator, NO_SIGNATURE), key)
        return Amnesia(precommit, prevote)

    def double_update(self, trainer: int) -> DuplicateUpdate:
        """Return proof that a participant signed two updates for the next height."""
        return duplicate_update(self.update(trainer), self.update(trainer, examples=7))

    def double_avail(self, validator: int) -> DuplicateAvail:
        """Return proof that a validator of the next height signed two availability votes."""
        first, second = (self.avail(validator, [sha256(name)]) for name in (b"one", b"two"))
        return duplicate_avail(first.avail, second.avail)

    def bad_update(self, trainer: int) -> InvalidUpdate:
        """Return proof that a participant signed an update with a forbidden element."""
        values = np.zeros(self.genesis.manifest.size, np.int16)
        values[3] = -32768
        data = encode_payload(values)
        return opening(self.update(trainer, payload_root=chunk_root(data)), data, 0)

    def attack(self, who: int, **changes: Any) -> LightClientAttack:
        """Return proof that a participant precommitted two headers of the next height, the second in round 3.

        They have one parent and, without `changes` to the second, different sets.
        """
        key, index = self.keys[self.publics[who]], self.state.validators.index_of(self.publics[who])
        assert index is not None
        fields = dict.fromkeys(Header.__struct_fields__, EMPTY_ROOT)
        fields |= dict.fromkeys(("height", "round0", "time_ms", "train_index", "flags", "model_parent"), 0)
        fields |= {"version": 1, "proposer": bytes(33), "seed_reveal": b"", "rule": "mean"}
        fields |= {"chain_id": self.genesis.chain_id, "height": self.state.next_height}
        fields |= {"params_hash": self.genesis.params_hash}
        first = Header(**fields)
        second = msgspec.structs.replace(first, **(changes or {"validators_hash": ZERO_DIGEST}))
        signed_headers = [
            (self.sign(Precommit(header.height, round_, header.value_id, index, NO_SIGNATURE), key), header)
            for round_, header in ((0, first), (3, second))
        ]
        (one, mine), (other, theirs) = sorted(signed_headers, key=lambda pair: codec.encode(pair[0]))
        return LightClientAttack(key.public, codec.encode(mine), one, codec.encode(theirs), other)

    def all_evidence(self, who: int) -> tuple[Evidence, ...]:
        """Return a proof of each kind against one participant, a validator of the next height."""
        validator = self.state.validators.index_of(self.publics[who])
        assert validator is not None
        return (
            self.double_vote(validator),
            self.amnesia(validator),
            self.double_proposal(validator),
            self.double_avail(validator),
            self.bad_update(who),
            self.double_update(who),
            self.attack(who),
        )
