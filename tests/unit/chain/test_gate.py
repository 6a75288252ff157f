"""A chain with a gate: what blocks say of models, how one goes back, and what everybody refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.chain import NO_SIGNATURE, World

from p2pfed.chain import propose
from p2pfed.chain.apply import apply_certified
from p2pfed.chain.check import check
from p2pfed.chain.gate import kept_model
from p2pfed.chain.state import decode_ledger, encode_ledger, with_model
from p2pfed.errors import InvalidBlock
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.model import ModelState
from p2pfed.types.params import NESTEROV
from p2pfed.types.quality import QUALITY_ONE, Quality

SOURCE = Path(__file__).parents[3] / "p2pfed/independent/verify.py"
SPEC = importlib.util.spec_from_file_location("independent_verify_of_gates", SOURCE)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)


class Gated(World):
    """Four validators that judge each model before the next block."""

    def __init__(self, **changes: Any) -> None:
        super().__init__([10, 10, 12, 13], gate_drop=QUALITY_ONE // 10, **changes)
        self.models: dict[int, ModelState] = {}

    def words(self, score: int, count: int = 4, **changes: Any) -> tuple[Quality, ...]:
        """Return the words of the first `count` validators on the last model, by sender."""
        said = []
        for public in self.publics[:count]:
            word = Quality(self.state.height, public, score, bytes([200, 255]), NO_SIGNATURE)
            said.append(self.sign(msgspec.structs.replace(word, **changes), self.keys[public]))
        return tuple(said)

    def judge(self, score: int, share: int = 200, **changes: Any) -> Any:
        """Build, certify and apply a block in which all say `score` of the last model, `share` of class 0."""
        said = bytes([share, 255])
        qualities = self.words(score, classes=said) if self.state.header is not None else ()
        block = self.advance(qualities=qualities, **changes)
        if self.state.model is None:  # As a peer does: it has kept the model, or fetches it.
            self.state = with_model(self.state, self.models[block.header.model_parent])
        self.models[self.state.height] = self.state.model  # type: ignore[assignment]
        return block


def gone_back(**changes: Any) -> tuple[Gated, list[Any]]:
    """Return a chain of six blocks: the model of height 3 is worse, and height 5 goes back to that of 2."""
    world = Gated(**changes)
    return world, [world.judge(score) for score in (0, 40_000, 42_000, 9_000, 0, 0)]


def test_a_worse_model_is_taken_back_one_block_after_it_was_judged() -> None:
    world, blocks = gone_back()
    back = blocks[4].header
    assert [block.header.is_empty for block in blocks] == [False, False, False, False, True, False]
    assert back.model_root == blocks[1].header.model_root
    assert back.exponents_root == blocks[1].header.exponents_root
    assert back.aggregate_root == EMPTY_ROOT
    assert back.model_parent == 2
    assert [block.header.train_index for block in blocks] == [1, 2, 3, 4, 4, 5]
    assert not blocks[5].body.qualities  # The model of height 5 is no new one: nobody judges it again.
    assert np.array_equal(world.models[5].weights, world.models[2].weights)


def gone_back_with_momentum() -> tuple[Gated, list[Any]]:
    return gone_back(outer_momentum=NESTEROV[0], outer_rate=NESTEROV[1])


def test_momentum_goes_back_with_the_model_whose_root_covers_it() -> None:
    world, blocks = gone_back_with_momentum()
    returned, good, bad = world.models[5], world.models[2], world.models[3]
    assert returned.velocity.any()
    assert np.array_equal(returned.velocity, good.velocity)
    assert not np.array_equal(good.velocity, bad.velocity)
    assert blocks[4].header.model_root == good.root
    halted = msgspec.structs.replace(good, velocity=np.zeros_like(good.velocity))
    assert halted.root != good.root
    assert msgspec.structs.replace(good, velocity=bad.velocity).root != good.root


def test_everybody_checks_it_and_one_who_catches_up_reaches_the_same_ledger() -> None:
    world = Gated()
    for score in (0, 40_000, 42_000, 9_000):
        world.judge(score)
    header, body, after = world.build()
    assert after.model is None  # It is not at hand here: whoever needs it loads it.
    checked = check(world.state, header, body, world.payload)
    assert checked.model is None
    assert checked.ledger.root == after.ledger.root == header.state_root
    before, block = world.state, world.judge(0)
    assert apply_certified(before, block).ledger.root == block.header.state_root
    assert decode_ledger(encode_ledger(after.ledger)) == after.ledger


def test_a_block_with_words_is_checked_and_goes_as_they_say() -> None:
    world = Gated()
    world.judge(0)
    header, body, after = world.build(qualities=world.words(40_000))
    assert len(body.qualities) == 4
    assert check(world.state, header, body, world.payload).ledger.root == after.ledger.root
    assert [scored.score for scored in after.ledger.quality.window] == [40_000]


def test_words_weigh_as_the_votes_on_the_block_of_that_model_did() -> None:
    world = Gated()
    for score in (0, 40_000):
        world.judge(score, evidence=(world.double_vote(3),) if score == 0 else ())
    last, now = world.state.last_validators, world.state.validators
    assert (last.total_power, now.total_power) == (45, 32)  # Height 3 is the first without the liar.
    # Two of 10 and 12 are more than two thirds of those who vote now; the model is of the block before.
    header, body, after = world.build(qualities=world.words(42_000)[1:3])
    assert len(body.qualities) == 2
    assert check(world.state, header, body, world.payload).ledger.root == after.ledger.root
    assert [scored.height for scored in after.ledger.quality.window] == [1]
    _, _, after = world.build(qualities=world.words(42_000))
    assert [scored.height for scored in after.ledger.quality.window] == [1, 2]


def test_who_goes_back_to_the_model_that_is_here_loads_nothing() -> None:
    world = Gated()
    for score in (0, 40_000):
        world.judge(score)
    state, good = world.state, world.state.ledger.quality.window[0]
    for root, expected in ((state.model_root, state.model), (good.model_root, None)):
        quality = msgspec.structs.replace(
            state.ledger.quality, back_to=msgspec.structs.replace(good, model_root=root)
        )
        ledger = msgspec.structs.replace(state.ledger, quality=quality)
        assert kept_model(msgspec.structs.replace(state, ledger=ledger)) is expected
    assert kept_model(state) is state.model is not None


def test_an_update_from_a_model_that_was_taken_back_does_not_count() -> None:
    world = Gated(update_lag=3)
    for score in (0, 40_000, 42_000, 9_000, 0):
        world.judge(score)
    assert world.state.oldest_base == 5
    free = World([10, 10, 12, 13], update_lag=3)
    for _ in range(5):
        free.advance()
    assert free.state.oldest_base == 3


def lost_class() -> tuple[Gated, list[Any]]:
    """Return a chain that goes back likewise, but for a class that was lost."""
    world = Gated(gate_class_drop=QUALITY_ONE // 2)
    return world, [world.judge(40_000, share) for share in (0, 200, 201, 73, 0, 0, 202)]


@pytest.mark.parametrize(
    ("chain_of", "heights"),
    [(gone_back, [1, 5]), (gone_back_with_momentum, [1, 5]), (lost_class, [1, 5, 6])],
)
def test_the_independent_verifier_goes_back_as_well(chain_of: Any, heights: list[int]) -> None:
    world, blocks = chain_of()
    assert [scored.height for scored in world.state.ledger.quality.window] == heights
    plain = VERIFY.unpack(encode_genesis(world.genesis), 11, "genesis")
    chain = VERIFY.Chain(plain)
    for block in blocks:
        header, body, commit = (codec.encode(part) for part in (block.header, block.body, block.commit))
        head = dict(zip(VERIFY.HEADER, VERIFY.unpack(header, len(VERIFY.HEADER), "header"), strict=True))
        chain.apply(
            block.header.height, head, VERIFY.unpack(body, 6, "body"), VERIFY.unpack(commit, 6, "commit")
        )
    stored = encode_ledger(world.state.ledger)
    restored = VERIFY.Ledger(plain, chain.chain_id)
    restored.restore(VERIFY.unpack_ledger(stored))
    assert restored.root() == VERIFY.ledger_root(stored) == world.state.ledger.root


def refused(world: World, qualities: tuple[Quality, ...], words: str) -> None:
    """Check that a block with these words is invalid, even where its proposer derived all else from them."""
    header, body, _ = world.build()
    others = tuple(item for item in body.transactions if not isinstance(item, Quality))
    body = msgspec.structs.replace(body, transactions=(*others, *qualities))
    header = msgspec.structs.replace(header, body_hash=body.hash())
    with pytest.raises(InvalidBlock, match=words):
        check(world.state, header, body, world.payload)


def test_what_nobody_may_say_makes_a_block_invalid() -> None:
    world = Gated()
    world.judge(0)
    first, second, *_ = world.words(1)
    refused(world, (second, first), "ascending order of sender")
    refused(world, (first, first), "ascending order of sender")
    refused(world, world.words(1, height=2), "a word on the model of height 2, the last is 1")
    refused(world, world.words(1, height=0), "a word on the model of height 0, the last is 1")
    refused(world, (msgspec.structs.replace(first, score=2),), "quality of")
    foreign = Gated().words(1, sender=b"\x02" + b"\x07" * 32)[:1]
    refused(world, (msgspec.structs.replace(foreign[0], height=1),), "has no vote")
    transfer = world.transfer(0, 1, 5, 0, 0)
    refused(world, (first, transfer), "not in this order")  # type: ignore[arg-type]


def test_nobody_speaks_of_a_model_that_is_no_new_one_or_where_there_is_no_gate() -> None:
    world = Gated()
    assert not world.build(qualities=world.words(1, height=0))[1].qualities
    world.judge(0)
    words = world.words(1)
    world.advance(headers=())  # EMPTY.
    refused(world, world.words(1), "a word on the model of height 2")
    assert not world.build(qualities=words)[1].qualities
    free = World([10, 10, 12, 13])
    free.advance()
    refused(free, tuple(msgspec.structs.replace(word) for word in words), "a word on the model of height 1")
    assert not free.build(qualities=words)[1].qualities


@pytest.mark.parametrize("emission", [0, 1000])
def test_words_scores_and_transactions_share_the_room_of_a_block(
    emission: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Gated(emission=emission)
    world.judge(0)
    payments = tuple(world.transfer(0, 1, 5, 0, nonce) for nonce in range(5))
    monkeypatch.setattr(propose, "TRANSACTIONS_PER_BLOCK_MAX", 7)
    body = world.build(qualities=world.words(1), transactions=payments)[1]
    assert len(body.transactions) == 7
    assert len(body.qualities) == 4
    assert (body.scores is not None) is bool(emission)
    assert body.signed_transactions == payments[: 2 if emission else 3]


def test_a_proposer_leaves_out_words_on_older_models_and_sorts_the_rest() -> None:
    world = Gated()
    world.judge(0)
    old = world.words(1)
    world.judge(40_000)
    now = world.words(2)
    body = world.build(qualities=(*old, *reversed(now)))[1]
    assert body.qualities == now
