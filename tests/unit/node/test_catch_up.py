from __future__ import annotations

from support.tiny_chain import KEYS, LIE_HEIGHT, Step, genesis, initial_model, steps

from p2pfed.chain.state import ChainState, genesis_state
from p2pfed.node.catch_up import MODEL_AGE_MAX, CatchUp
from p2pfed.node.effects import Effect, FetchBlocks, FetchModel, Halt, Observe, StoreBlock
from p2pfed.node.events import BlocksFetched
from p2pfed.node.evidence_pool import EvidencePool
from p2pfed.node.facts import BlockCommitted, SetChanged, StakeSlashed
from p2pfed.node.neighbours import Neighbours

NOW_MS = 1_000
PEER, OTHER = KEYS[1].public, KEYS[2].public


class Late:
    """A peer with an empty chain that catches up."""

    def __init__(self, checkpoint: tuple[int, bytes] | None = None) -> None:
        self.state: ChainState = genesis_state(genesis(), initial_model())
        self.outbox: list[Effect] = []
        members = tuple(key.public for key in KEYS)
        neighbours = Neighbours(KEYS[0], self.state.chain_id, members, self.state.validators, self.outbox)
        self.catch_up = CatchUp(neighbours, EvidencePool(self.outbox), self.outbox, checkpoint)

    def hear(self, peer: bytes, height: int) -> list[Effect]:
        """Let `peer` say that it works on `height`; return what is asked for then."""
        self.outbox.clear()
        self.catch_up.note(peer, height)
        self.catch_up.proceed(self.state)
        return [effect for effect in self.outbox if isinstance(effect, FetchBlocks | FetchModel)]

    def take(self, peer: bytes, made: tuple[Step, ...]) -> None:
        blocks = tuple(step.block for step in made)
        self.state, _ = self.catch_up.take_blocks(self.state, None, BlocksFetched(peer, blocks), NOW_MS)


def test_the_model_is_fetched_once_no_more_blocks_are_known() -> None:
    late = Late()
    assert late.hear(PEER, 3) == [FetchBlocks(PEER, 1)]
    late.take(PEER, steps(2))
    (asked,) = late.hear(PEER, 3)
    assert isinstance(asked, FetchModel)
    late.state = late.catch_up.take_model(late.state, 2, steps(2)[1].state.model)
    assert late.state.model == steps(2)[1].state.model
    assert late.hear(PEER, 3) == []


def test_a_few_new_blocks_do_not_interrupt_the_fetch_of_a_model() -> None:
    late = Late()
    late.hear(PEER, 3)
    late.take(PEER, steps(2))
    late.hear(PEER, 3)
    assert late.hear(PEER, 3 + MODEL_AGE_MAX) == []


def test_a_model_that_does_not_come_is_given_up_for_a_newer_one() -> None:
    late = Late()
    late.hear(PEER, 3)
    late.take(PEER, steps(2))
    late.hear(PEER, 3)
    assert late.hear(PEER, 4 + MODEL_AGE_MAX) == [FetchBlocks(PEER, 3)]
    late.take(PEER, steps(3 + MODEL_AGE_MAX)[2:])
    (asked,) = late.hear(PEER, 4 + MODEL_AGE_MAX)
    assert isinstance(asked, FetchModel)
    assert asked.header.height == 3 + MODEL_AGE_MAX


def test_the_model_of_an_older_height_is_not_taken_for_the_newest() -> None:
    late = Late()
    late.hear(PEER, 3)
    late.take(PEER, steps(2))
    late.hear(PEER, 3)
    late.hear(PEER, 4 + MODEL_AGE_MAX)
    late.take(PEER, steps(3 + MODEL_AGE_MAX)[2:])
    late.state = late.catch_up.take_model(late.state, 2, steps(2)[1].state.model)
    assert late.state.model is None
    assert [type(asked) for asked in late.hear(PEER, 4 + MODEL_AGE_MAX)] == [FetchModel]


def test_whoever_leaves_is_not_waited_for() -> None:
    late = Late()
    late.hear(PEER, 3)
    assert late.hear(OTHER, 3) == []
    late.catch_up.forget(PEER)
    assert late.hear(OTHER, 3) == [FetchBlocks(OTHER, 1)]


def test_a_peer_with_nothing_to_give_is_not_asked_twice() -> None:
    late = Late()
    late.hear(PEER, 9)
    late.hear(OTHER, 3)
    late.take(PEER, ())
    late.outbox.clear()
    late.catch_up.proceed(late.state)
    assert FetchBlocks(OTHER, 1) in late.outbox


def test_only_more_than_the_block_we_vote_on_is_far_behind() -> None:
    late = Late()
    late.catch_up.note(PEER, 2)
    assert late.catch_up.is_behind(late.state)
    assert not late.catch_up.is_far_behind(late.state)
    late.catch_up.note(PEER, 3)
    assert late.catch_up.is_far_behind(late.state)


def test_a_conviction_in_a_fetched_block_is_told_as_one_in_a_block_of_our_own() -> None:
    late = Late()
    late.hear(PEER, LIE_HEIGHT + 1)
    late.take(PEER, steps(LIE_HEIGHT))
    facts = [effect.fact for effect in late.outbox if isinstance(effect, Observe)]
    assert [type(fact) for fact in facts][-3:] == [BlockCommitted, StakeSlashed, SetChanged]
    told = [fact for fact in facts if isinstance(fact, StakeSlashed)]
    culprit = late.state.validators.validators[-1].key
    assert told == [StakeSlashed(LIE_HEIGHT, culprit, "DUPLICATE_VOTE")]


def test_blocks_are_taken_up_to_the_one_that_contradicts_the_checkpoint() -> None:
    real = steps(3)[1].block.header.value_id
    for named, height in ((bytes(32), 1), (real, 3)):
        late = Late((2, named))
        late.hear(PEER, 4)
        late.take(PEER, steps(3))
        assert late.state.height == height
        assert len([effect for effect in late.outbox if isinstance(effect, StoreBlock)]) == height
        halts = [effect.reason for effect in late.outbox if isinstance(effect, Halt)]
        assert len(halts) == (named != real)
        assert all(value.hex() in reason for reason in halts for value in (named, real))
