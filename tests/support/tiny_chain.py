"""A tiny chain of real blocks in a home, made without a network: four validators, eight weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np

from p2pfed.aggregation.payload import decode_payload, encode_payload
from p2pfed.chain.genesis import dump_genesis
from p2pfed.chain.propose import ProposalInputs, build
from p2pfed.chain.state import ChainState, encode_ledger, genesis_state
from p2pfed.consensus.certificates import commit_cert, polka_cert
from p2pfed.consensus.evidence import duplicate_vote
from p2pfed.consensus.proposer import proposer_index
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import save_key
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.availability import Avail, AvailMessage, list_hash
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.genesis import Genesis, Params, Participant
from p2pfed.types.message import Message, SignedMessage
from p2pfed.types.model import ArraySpec, Manifest, ModelState
from p2pfed.types.transaction import Transfer
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote

KEYS = tuple(sorted((PrivateKey(bytes([seed]) * 32) for seed in range(1, 5)), key=lambda key: key.public))
BLANK = bytes(64)
EVALUATION = b"public evaluation set"
PAYMENT_HEIGHT, LIE_HEIGHT, EMPTY_HEIGHT = 2, 3, 4  # A transfer, two votes of the last validator, no update.


@dataclass(frozen=True)
class Step:
    """One height: the block, the polka that it came from, its payloads and the state after it."""

    block: Block
    polka: PolkaCert
    payloads: tuple[bytes, ...]
    state: ChainState


def signed(message: SignedMessage, key: PrivateKey, chain_id: bytes) -> SignedMessage:
    """Return `message` with its blank signature replaced by that of `key`."""
    fields = [getattr(message, name) for name in message.__struct_fields__[:-1]]
    return type(message)(*fields, key.sign(message.digest(chain_id)))


def initial_model() -> ModelState:
    exponents = np.array([10, 10], dtype=np.int8), np.array([20, 20], dtype=np.int8)
    return ModelState(np.arange(8, dtype=np.int32) << 18, *exponents)


@lru_cache
def genesis() -> Genesis:
    arrays = (
        ArraySpec("weight", (2, 3), "float32", "trained", nonnegative=False),
        ArraySpec("bias", (2,), "float32", "trained", nonnegative=False),
    )
    return Genesis(
        version=1,
        name="tiny",
        time_ms=1_700_000_000_000,
        transport="memory",
        params=Params("local", ("trimmed_mean", "mean"), 1, 12, 0, 0),
        participants=tuple(Participant(key.public, 1000, 50) for key in KEYS),
        manifest=Manifest(arrays),
        model_root=initial_model().root,
        update_exponents=(10, 10),
        model_exponents=(20, 20),
        evaluation_root=chunk_root(EVALUATION),
    )


def next_step(
    before: ChainState,
    last: Block | None,
    *,
    round_: int = 0,
    valid_round: int = -1,
    round0: int = 0,
    signers: tuple[int, ...] | None = None,
) -> Step:
    """Return the next height: everybody trains and votes, except as the heights above say.

    Args:
        before: The state before it.
        last: The block before it.
        round_: The round of its polka and certificate.
        valid_round: What its prevotes name.
        round0: The round in which it was first proposed.
        signers: The validators that sign anything; None: all.
    """
    chain_id, height = before.chain_id, before.next_height
    voters = [next(key for key in KEYS if key.public == voter.key) for voter in before.validators.validators]
    trainers = [key for key in KEYS if key.public in before.trainers and height != EMPTY_HEIGHT]
    dice = np.random.default_rng(height)
    payloads = [encode_payload(dice.integers(-500, 500, 8).astype(np.int16)) for _ in trainers]
    headers = tuple(
        signed(
            UpdateHeader(key.public, height - 1, before.model_root, 16, chunk_root(data), 0, 10, BLANK),
            key,
            chain_id,
        )
        for key, data in zip(trainers, payloads, strict=True)
    )
    ids = tuple(sorted(header.update_id for header in headers))
    avails = tuple(
        AvailMessage(
            signed(
                Avail(height, 0, index, list_hash(ids), len(ids), before.time_ms + 5, BLANK), key, chain_id
            ),
            ids,
        )
        for index, key in enumerate(voters)
        if signers is None or index in signers
    )
    proposer = proposer_index(before.validators, chain_id, height, round0)
    inputs = ProposalInputs(
        proposer=before.validators.validators[proposer].key,
        avails=avails,
        headers=headers,
        transactions=(_payment(chain_id),) if height == PAYMENT_HEIGHT else (),
        evidence=(_lie(before),) if height == LIE_HEIGHT else (),
        last_commit=last.commit if last else None,
    )
    by_root = {chunk_root(data): data for data in payloads}
    header, body, after = build(
        before,
        inputs,
        round0,
        lambda update: decode_payload(by_root[update.payload_root], before.genesis.manifest),
    )
    value_id = header.value_id
    prevotes = [
        signed(Prevote(height, round_, value_id, valid_round, index, BLANK), key, chain_id)
        for index, key in enumerate(voters)
        if signers is None or index in signers
    ]
    precommits = [
        signed(Precommit(height, round_, value_id, index, BLANK), key, chain_id)
        for index, key in enumerate(voters)
        if signers is None or index in signers
    ]
    block = Block(header, body, commit_cert(precommits, before.validators))
    return Step(block, polka_cert(prevotes, before.validators), tuple(payloads), after)


def polka_of(step: Step, round_: int, valid_round: int) -> PolkaCert:
    """Return the polka for the block of `step`, by the same voters, of another round."""
    chain_id, polka = step.state.chain_id, step.polka
    votes = [
        signed(
            Prevote(polka.height, round_, polka.value_id, valid_round, index, BLANK), KEYS[index], chain_id
        )
        for index in indices_of(polka.bitmap, len(KEYS))
    ]
    return polka_cert(votes, genesis().validators)


def replaced(message: Message, **changes: object) -> Message:
    """Return `message` with some fields changed."""
    return msgspec.structs.replace(message, **changes)


@lru_cache
def steps(count: int) -> tuple[Step, ...]:
    """Return the first `count` heights."""
    state, made = genesis_state(genesis(), initial_model()), []
    for _ in range(count):
        made.append(next_step(state, made[-1].block if made else None))
        state = made[-1].state
    return tuple(made)


def keep(store: Store, step: Step, with_model: bool = True) -> None:
    """Store a height as a running peer does: payloads, the value that is voted on, the polka, the block."""
    for payload in step.payloads:
        store.blobs.put(payload)
    store.chain.save_pending(step.block.header, step.block.body)
    store.chain.save_polka(step.polka)
    store.save_block(step.block, encode_ledger(step.state.ledger), step.state.model if with_model else None)
    store.clean_up()


def found(home: Home) -> Store:
    """Make a home with everything but blocks in it, where that is missing, and return its open store."""
    home.create()
    replace_file(home.genesis, dump_genesis(genesis()).encode(), "genesis")
    if not home.key.exists():
        save_key(home.key, KEYS[0])
    if not home.vote_state.exists():
        VoteStateFile(home.vote_state).save(b"record 0")
    store = Store(home, genesis())
    store.save_genesis(initial_model(), EVALUATION)
    return store


def make_home(home: Home, heights: int) -> None:
    """Make a closed home with `heights` blocks and a value that is pending."""
    store = found(home)
    made = steps(heights + 1)
    for step in made[:heights]:
        keep(store, step)
    store.chain.save_pending(made[heights].block.header, made[heights].block.body)
    store.chain.save_polka(made[heights].polka)
    store.close()


def _payment(chain_id: bytes) -> Transfer:
    return signed(Transfer(KEYS[1].public, KEYS[2].public, 5, 2, 0, BLANK), KEYS[1], chain_id)


def _lie(before: ChainState) -> Evidence:
    index = len(before.validators) - 1
    votes = [
        signed(Prevote(before.height, 1, value, -1, index, BLANK), KEYS[index], before.chain_id)
        for value in (EMPTY_ROOT, None)
    ]
    return duplicate_vote(*votes)
