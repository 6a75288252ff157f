"""A chain that pays for work: what a block carries, who is paid, and what everybody refuses."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.chain import BALANCE, World, make_genesis

from p2pfed.aggregation.contribution import group_products
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.payload import encode_payload
from p2pfed.chain import propose
from p2pfed.chain.apply import apply_certified
from p2pfed.chain.check import check
from p2pfed.chain.derive import ModelRoots, derive
from p2pfed.chain.genesis import decode_genesis, dump_genesis, load_genesis, verify_genesis
from p2pfed.chain.state import decode_ledger, encode_ledger
from p2pfed.chain.update_set import update_set
from p2pfed.errors import InvalidBlock, LocalError
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root
from p2pfed.types.block import Body, Header
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.params import STAKE_TOTAL_MAX
from p2pfed.types.scores import Score, Scores
from p2pfed.types.update import UpdateHeader

SOURCE = Path(__file__).parents[3] / "p2pfed/independent/verify.py"
SPEC = importlib.util.spec_from_file_location("independent_verify", SOURCE)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)

EMISSION = 1_000_000


class Working(World):
    """Participants whose updates have a direction in common, as those of honest trainers do."""

    def update(self, trainer: int, /, seed: int = 0, **changes: Any) -> UpdateHeader:
        common = np.random.default_rng([9, self.state.height]).integers(-3000, 3000, 16)
        own = np.random.default_rng([trainer, seed, self.state.height]).integers(-1500, 1500, 16)
        values = (common + own).astype(np.int16)
        root = chunk_root(encode_payload(values))
        header = super().update(trainer, seed, payload_root=root, **changes)
        self.payloads[header.update_id] = values
        return header


def paying(**changes: Any) -> Working:
    return Working([10, 10, 12, 13], emission=EMISSION, updates_min=1, **changes)


def forged(header: Header, body: Body, **changes: Any) -> tuple[Header, Body]:
    """Return the block with another body, under a header whose hash of it is right."""
    body = msgspec.structs.replace(body, **changes)
    return msgspec.structs.replace(header, body_hash=body.hash()), body


def test_a_block_pays_its_trainers_voters_and_proposer_and_creates_no_more_than_the_emission() -> None:
    world = paying()
    total = world.state.ledger.total
    for height in range(1, 5):
        before = world.state.ledger
        block = world.advance()
        after = world.state.ledger
        assert after.total == total == STAKE_TOTAL_MAX
        created = before.contribution.left - after.contribution.left
        assert 0 < created <= EMISSION * 95 // 100
        earned = sum(standing.earned for standing in after.contribution.standings)
        assert earned == STAKE_TOTAL_MAX - 45 - 4000 - after.contribution.left, height
        assert block.body.scores is not None
        assert len(block.body.scores.scores) == 4
        assert block.header.scores_root != EMPTY_ROOT


def test_everybody_recomputes_the_scores_and_one_who_catches_up_reaches_the_same_ledger() -> None:
    world = paying()
    world.advance()
    header, body, after = world.build()
    assert check(world.state, header, body, world.payload).ledger.root == after.ledger.root
    before, block = world.state, world.advance()
    assert apply_certified(before, block).ledger.root == after.ledger.root == header.state_root
    assert decode_ledger(encode_ledger(after.ledger)) == after.ledger


def test_a_false_score_or_sketch_makes_a_block_invalid() -> None:
    world = paying()
    world.advance()
    header, body, _ = world.build()
    scores = body.scores
    assert scores is not None
    first, *rest = scores.scores
    richer = msgspec.structs.replace(first, value=first.value + 1)
    other = msgspec.structs.replace(first, sketch=bytes(256))
    for wrong, words in (
        (Scores((richer, *rest), scores.aggregate), "score of update 0"),
        (Scores((other, *rest), scores.aggregate), "a sketch beside them"),
        (Scores(scores.scores, bytes(256)), "a sketch beside them"),
    ):
        # The liar derives everything else as it must be: only the merge can tell.
        false = msgspec.structs.replace(body, transactions=(wrong,))
        lying_header, _ = _derived(world, header, false)
        with pytest.raises(InvalidBlock, match=words):
            check(world.state, lying_header, false, world.payload)


def test_scores_stand_once_at_the_end_one_for_each_update_and_only_where_work_is_paid() -> None:
    world = paying()
    header, body, _ = world.build()
    scores = body.scores
    assert scores is not None
    payment = world.transfer(0, 1, 5, 0, 0)
    fewer = Scores(scores.scores[:-1], scores.aggregate)
    for transactions in ((), (scores, scores), (scores, payment), (fewer,)):
        wrong = forged(header, body, transactions=transactions)
        with pytest.raises(InvalidBlock, match="are needed"):
            check(world.state, *wrong, world.payload)
    free = World([10, 10, 12, 13])
    header, body, _ = free.build()
    assert body.scores is None
    with pytest.raises(InvalidBlock, match="0 are needed"):
        check(free.state, *forged(header, body, transactions=(scores,)), free.payload)


def test_a_proposer_leaves_room_for_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propose, "TRANSACTIONS_PER_BLOCK_MAX", 2)
    world = paying()
    payments = tuple(world.transfer(0, 1, 1, 0, nonce) for nonce in range(2))
    assert len(world.build(transactions=payments)[1].signed_transactions) == 1


def test_an_emission_that_could_never_be_paid_is_refused() -> None:
    rich = make_genesis([STAKE_TOTAL_MAX - 4 * BALANCE - 30, 10, 10, 10], emission=1, rules=("mean",))
    with pytest.raises(LocalError, match="emission is 1, and only 0 may still be created"):
        verify_genesis(rich)


def test_scores_have_frozen_bytes() -> None:
    sketches = bytes(range(256)), bytes(256)
    scores = Scores((Score(1 << 16, sketches[0]), Score(5, sketches[1])), sketches[1])
    first, second = (b"\xc5\x01\x00" + sketch for sketch in sketches)  # msgpack: bin 16, 256 bytes.
    expected = b"\x93\x2c\x92" + b"\x92\xce\x00\x01\x00\x00" + first + b"\x92\x05" + second + second
    assert codec.encode(scores) == expected


def test_a_height_without_a_model_pays_for_votes_only() -> None:
    world = paying()
    world.advance()
    past = world.state.ledger.contribution.past
    block = world.advance(headers=())
    assert block.body.scores is None
    assert block.header.scores_root == EMPTY_ROOT
    assert world.state.ledger.contribution.past == past != ()
    header, body, _ = world.build()
    assert body.scores is not None
    check(world.state, header, body, world.payload)


def test_a_network_without_emission_has_no_trace_of_it() -> None:
    plain, paid = make_genesis([10] * 4), make_genesis([10] * 4, emission=5)
    assert "emission" not in dump_genesis(plain)
    assert load_genesis(dump_genesis(paid).encode()) == paid
    assert decode_genesis(encode_genesis(paid)) == paid
    assert paid.chain_id != plain.chain_id
    assert paid.params_hash != plain.params_hash
    world = World([10] * 4)
    world.advance()
    assert msgspec.msgpack.decode(encode_ledger(world.state.ledger))[4] == [[]]
    assert len(msgspec.msgpack.decode(encode_ledger(world.state.ledger))) == 5
    assert not any(key.startswith(b"contribution") for key, _ in world.state.ledger.leaves())


def test_when_all_that_may_exist_exists_nobody_is_paid() -> None:
    world = paying()
    world.advance()
    slice_ = msgspec.structs.replace(world.state.ledger.contribution, left=10)
    ledger = msgspec.structs.replace(world.state.ledger, contribution=slice_)
    world.state = msgspec.structs.replace(world.state, ledger=ledger)
    header, body, after = world.build()
    assert after.ledger.contribution.left == 10
    assert [s.earned for s in after.ledger.contribution.standings] == [s.earned for s in slice_.standings]
    assert check(world.state, header, body, world.payload).ledger.root == after.ledger.root


def test_a_height_that_merges_nothing_scores_nobody() -> None:
    world = Working([10, 10, 12, 13], emission=EMISSION, updates_min=3)
    world.advance()
    header, body, after = world.build(headers=world.updates()[:2])
    assert (header.is_empty, len(body.updates), body.scores) == (True, 2, None)
    assert header.scores_root == EMPTY_ROOT
    assert check(world.state, header, body, world.payload).ledger == after.ledger


def test_products_that_somebody_measured_change_no_score_also_where_an_update_is_old() -> None:
    """They are of the payloads as they came; an old one is merged and scored in the units of today."""
    world = paying(update_lag=2, update_bits=10)
    old = world.update(0)
    world.advance(headers=world.updates()[1:])

    def measured(updates: Sequence[UpdateHeader]) -> Tables:
        rows = [world.payload(update) for update in updates]
        return group_products(world.genesis.manifest.groups, rows, map)

    before = world.genesis.update_exponents
    assert world.state.model is not None
    assert world.state.model.update_exponents.tolist() != list(before)
    for headers in (world.updates(), (old, *world.updates()[1:])):
        header, body, after = world.build(headers=headers)
        assert check(world.state, header, body, world.payload, products=measured).ledger == after.ledger
        again = propose.build(world.state, world.inputs(headers=headers), 0, world.payload, map, measured)
        assert again[:2] == (header, body)


@pytest.mark.parametrize("lag", [1, 3])
def test_the_second_program_executes_the_pay_and_computes_the_scores(lag: int) -> None:
    world = paying(update_lag=lag)
    plain = msgspec.msgpack.decode(encode_genesis(world.genesis))
    chain, merger = VERIFY.Chain(plain), VERIFY.Merger(plain)
    slow: tuple[UpdateHeader, ...] = ()
    for _ in range(4):
        model = world.state.model
        assert model is not None
        first, *others = world.updates()
        is_late = bool(slow)
        headers = (*slow, *others) if lag > 1 else (first, *others)
        slow = (first,) if lag > 1 and not is_late else ()  # It comes at every other height.
        payment = world.transfer(0, 1, 1, 1, world.state.height)
        block = world.advance(headers=headers, transactions=(payment,))
        header, body, commit = (
            msgspec.msgpack.decode(codec.encode(part)) for part in (block.header, block.body, block.commit)
        )
        chain.apply(block.header.height, dict(zip(VERIFY.HEADER, header, strict=True)), body, commit)
        merged = sorted(block.body.updates, key=lambda update: update.trainer)
        rows = [world.payload(update).tolist() for update in merged]
        ages = [chain.ages[update.base_height] for update in merged]
        exponents = np.frombuffer(model.exponents_bytes(), np.int8).tolist()
        weights = np.frombuffer(model.weights_bytes(), "<i4").tolist()
        claims, f = [update.examples for update in merged], VERIFY.lying(chain.trainer_bonds)
        found = merger._merge(block.header.rule, rows, claims, f, weights, exponents, ages)
        aggregate = np.frombuffer(found[0], "<i4").tolist()
        claimed, bonds, past = chain.scored
        assert claimed == merger._scores(chain.chain_id, exponents, rows, ages, aggregate, bonds, past)
        assert claimed == body[3][-1]
        assert any(ages) == is_late
    assert world.state.ledger.contribution.past == tuple(chain.ledger.past)
    restored = VERIFY.Ledger(plain, chain.chain_id)
    stored = encode_ledger(world.state.ledger)
    restored.restore(VERIFY.unpack_ledger(stored))
    assert restored.root() == VERIFY.ledger_root(stored) == world.state.ledger.root


def _derived(world: World, header: Header, body: Body) -> tuple[Header, Any]:
    """Return the header that follows from a body, with the roots of the merge as they are."""
    return derive(
        world.state,
        body,
        update_set(body.updates, header.round0),
        (),
        proposer=header.proposer,
        round0=header.round0,
        roots=ModelRoots(header.exponents_root, header.aggregate_root, header.model_root),
    )
