"""A joiner believes one header, by a light client's rules and witnesses; whoever lies is named."""

from __future__ import annotations

import msgspec
from support.tiny_chain import KEYS, Step, genesis, initial_model, next_step, steps

from p2pfed.chain.light import rules_of, trusted_genesis
from p2pfed.chain.snapshot import snapshot_of
from p2pfed.chain.state import encode_ledger, genesis_state
from p2pfed.errors import InvalidSnapshot
from p2pfed.node.effects import AskLightBlock, AskSnapshot, Blame, Effect, FetchSnapshot, Halt, Observe
from p2pfed.node.events import SnapshotFetched
from p2pfed.node.facts import SnapshotChosen
from p2pfed.node.neighbours import Neighbours
from p2pfed.node.state_sync import (
    ASK_AGAIN_MS,
    NO_OFFER_MS,
    OFFER_WAIT_MS,
    WITNESS_WAIT_MS,
    StateSync,
    SyncPlan,
)
from p2pfed.primitives import codec
from p2pfed.types.light import LightBlock
from p2pfed.types.snapshot import Snapshot

RULES = rules_of(genesis())
NOW_MS = genesis().time_ms + 60_000
A, B, C = (key.public for key in KEYS[1:])


def light(step: Step) -> LightBlock:
    state = step.state
    return LightBlock(step.block.header, step.block.commit, state.last_validators, state.validators)


def offer(step: Step) -> Snapshot:
    body = len(codec.encode(step.block.body))
    return snapshot_of(light(step), encode_ledger(step.state.ledger), body, genesis())


STEPS = steps(8)
OLDER, NEWER = offer(STEPS[3]), offer(STEPS[7])


class Joiner:
    """A peer without anything, told by hand."""

    def __init__(
        self,
        checkpoint: tuple[int, bytes] | None = None,
        resume: Snapshot | None = None,
        now_ms: int = NOW_MS,
    ) -> None:
        self.now_ms = now_ms
        self.outbox: list[Effect] = []
        state = genesis_state(genesis(), None)
        members = tuple(key.public for key in KEYS)
        self.neighbours = Neighbours(KEYS[0], state.chain_id, members, state.validators, self.outbox)
        start = trusted_genesis(genesis()) if checkpoint is None else None
        plan = SyncPlan(RULES, start, checkpoint, resume)
        self.sync = StateSync(plan, genesis(), self.neighbours, self.outbox)

    def connect(self, *peers: bytes) -> None:
        for peer in peers:
            self.neighbours.connect(peer, None, self.now_ms)
            self.sync.connect(peer, self.now_ms)

    def offers(self, peer: bytes, snapshot: Snapshot | None) -> None:
        self.sync.take_offer(peer, snapshot, self.now_ms)

    def shows(self, peer: bytes, step: Step | None, height: int | None = None) -> None:
        at = step.block.header.height if step is not None else height
        assert at is not None
        self.sync.take_block(peer, at, None if step is None else light(step), self.now_ms)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.sync.tick(self.now_ms)

    def of(self, *kinds: type) -> list[Effect]:
        """Return the effects of these kinds since the last look."""
        found = [effect for effect in self.outbox if isinstance(effect, kinds)]
        self.outbox.clear()
        return found


def test_the_newest_snapshot_that_is_verified_and_confirmed_is_fetched() -> None:
    joiner = Joiner()
    joiner.connect(A, B, C)
    assert joiner.of(AskSnapshot) == [AskSnapshot(peer, 0) for peer in (A, B, C)]
    joiner.offers(A, OLDER)
    joiner.offers(B, NEWER)
    assert joiner.of(FetchSnapshot) == []
    joiner.offers(C, NEWER)
    assert joiner.of(AskLightBlock) == [AskLightBlock(A, 8)]  # B's way holds, C has the same.
    joiner.shows(A, STEPS[7])
    chosen, fetch = joiner.of(Observe, FetchSnapshot)
    assert chosen == Observe(SnapshotChosen(8, NEWER.block.header.value_id, NEWER.size, 2, 1))
    assert fetch == FetchSnapshot(NEWER, (B, C))


def test_a_slow_peer_is_waited_for_a_moment_only() -> None:
    joiner = Joiner()
    joiner.connect(A, B)
    joiner.offers(A, NEWER)
    joiner.wait(OFFER_WAIT_MS)
    assert joiner.of(AskLightBlock) == [AskLightBlock(B, 8)]
    joiner.wait(WITNESS_WAIT_MS - 1)
    assert joiner.of(FetchSnapshot) == []
    joiner.wait(1)  # A network of two can be joined too.
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(NEWER, (A,))]


def test_a_header_that_does_not_hold_costs_whoever_offers_it_and_the_next_offer_is_taken() -> None:
    joiner = Joiner()
    joiner.connect(A, B)
    commit = msgspec.structs.replace(NEWER.block.commit, signatures=tuple(bytes(64) for _ in KEYS))
    forged = msgspec.structs.replace(NEWER, block=msgspec.structs.replace(NEWER.block, commit=commit))
    joiner.offers(A, forged)
    joiner.offers(B, OLDER)
    (blame,) = joiner.of(Blame)
    assert isinstance(blame, Blame)
    assert blame.peer == A
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(OLDER, (B,))]


def test_a_manifest_that_contradicts_its_header_bans_at_once() -> None:
    joiner = Joiner()
    joiner.connect(A)
    parts = tuple(msgspec.structs.replace(part, root=bytes(32)) for part in NEWER.parts)
    joiner.offers(A, msgspec.structs.replace(NEWER, parts=parts))
    (blame,) = joiner.of(Blame)
    assert isinstance(blame, Blame)
    assert isinstance(blame.fault, InvalidSnapshot)
    assert joiner.neighbours.table.refusal(A, NOW_MS)


def test_an_unknown_format_is_no_offer_and_no_fault() -> None:
    joiner = Joiner()
    joiner.connect(A)
    joiner.offers(A, msgspec.structs.replace(NEWER, format=2))
    joiner.wait(OFFER_WAIT_MS)
    assert joiner.of(Blame, FetchSnapshot) == []


def test_a_false_ledger_costs_all_who_offered_it_and_everybody_is_asked_anew() -> None:
    joiner = Joiner()
    joiner.connect(A, B, C)
    for peer in (A, B):
        joiner.offers(peer, NEWER)
    joiner.offers(C, OLDER)
    joiner.shows(C, STEPS[7])
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(NEWER, (A, B))]
    fault = InvalidSnapshot("the ledger has another root")
    assert not joiner.sync.take_state(SnapshotFetched(NEWER, None, None, fault), joiner.now_ms)
    assert [blame.peer for blame in joiner.outbox if isinstance(blame, Blame)] == [A, B]
    assert AskSnapshot(C, 0) in joiner.of(AskSnapshot)
    joiner.neighbours.disconnect(A, joiner.now_ms)
    joiner.neighbours.disconnect(B, joiner.now_ms)
    joiner.sync.forget(A, joiner.now_ms)
    joiner.sync.forget(B, joiner.now_ms)
    joiner.offers(C, OLDER)
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(OLDER, (C,))]


def test_parts_that_nobody_serves_any_more_begin_the_search_again() -> None:
    joiner = Joiner()
    joiner.connect(A)
    joiner.offers(A, OLDER)
    joiner.wait(WITNESS_WAIT_MS)
    joiner.of()
    assert not joiner.sync.take_state(SnapshotFetched(OLDER, None, None, None), joiner.now_ms)
    assert joiner.of(AskSnapshot, Blame) == [AskSnapshot(A, 0)]


def test_only_the_state_that_was_asked_for_is_taken() -> None:
    joiner, state = Joiner(), STEPS[3].state
    joiner.connect(A)
    joiner.offers(A, NEWER)
    joiner.wait(WITNESS_WAIT_MS)
    assert not joiner.sync.take_state(SnapshotFetched(OLDER, STEPS[3].block, state, None), NOW_MS)
    assert joiner.sync.take_state(SnapshotFetched(NEWER, STEPS[7].block, STEPS[7].state, None), NOW_MS)


def test_two_certified_blocks_of_the_height_stop_the_joiner() -> None:
    """All four validators sign another block 1 as well: a fork that a light client can see."""
    other = next_step(genesis_state(genesis(), initial_model()), None, round_=1, round0=1)
    joiner = Joiner()
    joiner.connect(A, B)
    joiner.offers(A, offer(STEPS[0]))
    joiner.offers(B, None)
    joiner.shows(B, other)
    (halt,) = joiner.of(Halt)
    assert isinstance(halt, Halt)
    assert halt.exit_code == 7
    for step in (STEPS[0], other):
        assert step.block.header.value_id.hex() in halt.reason


def test_a_witness_whose_block_does_not_hold_is_blamed_and_does_not_stop_it() -> None:
    joiner = Joiner()
    joiner.connect(A, B)
    joiner.offers(A, NEWER)
    joiner.offers(B, None)
    false = msgspec.structs.replace(STEPS[7].block.header, time_ms=STEPS[7].block.header.time_ms + 1)
    block = msgspec.structs.replace(NEWER.block, header=false)
    joiner.sync.take_block(B, 8, block, joiner.now_ms)
    (blame,) = joiner.of(Blame)
    assert isinstance(blame, Blame)
    assert blame.peer == B
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot, Halt) == [FetchSnapshot(NEWER, (A,))]


def test_genesis_older_than_the_trusting_period_is_refused_with_both_times() -> None:
    late_ms = genesis().time_ms + RULES.trusting_ms
    joiner = Joiner(now_ms=late_ms)
    joiner.connect(A)
    joiner.offers(A, NEWER)
    halt = joiner.of(Halt)[0]
    assert isinstance(halt, Halt)
    assert halt.exit_code == 3
    assert f"{genesis().time_ms} ms, now {late_ms} ms" in halt.reason


def test_a_checkpoint_is_the_start_and_saves_the_way_from_genesis() -> None:
    checkpoint = (4, STEPS[3].block.header.value_id)
    joiner = Joiner(checkpoint)
    joiner.connect(A)
    assert AskLightBlock(A, 4) in joiner.of(AskLightBlock)
    joiner.offers(A, NEWER)
    assert joiner.of(FetchSnapshot, AskLightBlock) == []
    joiner.shows(A, STEPS[3])
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(NEWER, (A,))]


def test_a_conflicting_checkpoint_is_fatal_and_both_hashes_are_named() -> None:
    joiner = Joiner((4, b"\7" * 32))
    joiner.connect(A)
    joiner.shows(A, STEPS[3])
    (halt,) = joiner.of(Halt)
    assert isinstance(halt, Halt)
    assert halt.exit_code == 3
    assert STEPS[3].block.header.value_id.hex() in halt.reason
    assert ("07" * 32) in halt.reason


def test_a_checkpoint_older_than_the_trusting_period_is_refused_with_both_times() -> None:
    header = STEPS[3].block.header
    late_ms = header.time_ms + RULES.trusting_ms
    joiner = Joiner((4, header.value_id), now_ms=late_ms)
    joiner.connect(A)
    joiner.shows(A, STEPS[3])
    (halt,) = joiner.of(Halt)
    assert isinstance(halt, Halt)
    assert halt.exit_code == 3
    assert f"{header.time_ms} ms, now {late_ms} ms" in halt.reason


def test_whoever_lacks_the_checkpoint_is_left_for_the_next() -> None:
    joiner = Joiner((4, STEPS[3].block.header.value_id))
    joiner.connect(A, B)
    assert joiner.of(AskLightBlock) == [AskLightBlock(A, 4)]
    joiner.shows(A, None, 4)
    assert joiner.of(AskLightBlock) == [AskLightBlock(B, 4)]
    joiner.shows(B, None, 4)
    joiner.wait(500)
    assert joiner.of(AskLightBlock) == [AskLightBlock(A, 4)]


def test_where_nobody_has_a_snapshot_for_long_the_person_is_asked() -> None:
    joiner = Joiner()
    joiner.connect(A)
    for _ in range(NO_OFFER_MS // ASK_AGAIN_MS + 2):
        joiner.offers(A, None)
        joiner.wait(ASK_AGAIN_MS)
    halts = joiner.of(Halt)
    assert halts
    assert isinstance(halts[0], Halt)
    assert halts[0].exit_code == 4
    assert "--sync blocks" in halts[0].reason


def test_what_was_being_fetched_is_asked_for_first_and_else_the_newest() -> None:
    joiner = Joiner(resume=OLDER)
    joiner.connect(A, B)
    assert joiner.of(AskSnapshot) == [AskSnapshot(A, 4), AskSnapshot(B, 4)]
    joiner.offers(A, None)
    assert joiner.of(AskSnapshot) == [AskSnapshot(A, 0)]
    joiner.offers(A, NEWER)
    joiner.offers(B, OLDER)
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(OLDER, (B,))]


def test_the_one_whose_way_is_followed_may_leave() -> None:
    joiner = Joiner()
    joiner.connect(A, B)
    joiner.offers(A, NEWER)
    joiner.offers(B, OLDER)
    joiner.neighbours.disconnect(A, joiner.now_ms)
    joiner.sync.forget(A, joiner.now_ms)
    joiner.wait(WITNESS_WAIT_MS)
    assert joiner.of(FetchSnapshot) == [FetchSnapshot(OLDER, (B,))]


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    joiner = Joiner()
    joiner.connect(A)
    joiner.offers(B, NEWER)
    joiner.shows(B, STEPS[7])
    joiner.sync.tick(joiner.now_ms)
    assert joiner.of(FetchSnapshot, Blame, Halt) == []
