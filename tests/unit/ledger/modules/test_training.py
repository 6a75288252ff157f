"""An update counts once, the last update set is remembered, and who sent an invalid one sits out."""

from __future__ import annotations

import msgspec
import pytest
from support.chain import make_genesis

from p2pfed.ledger.module import BaseModel, Context, CountUpdates, Pause
from p2pfed.ledger.modules import training
from p2pfed.ledger.modules.training import TrainingState

A, B, C = (bytes([2]) + bytes(31) + bytes([place]) for place in range(3))
START = TrainingState((), (), ())
GENESIS = make_genesis([1])


def context(height: int, lag: int = 1) -> Context:
    params = msgspec.structs.replace(GENESIS.params, update_lag=lag)
    return Context(GENESIS.chain_id, params, height, height, A)


def count(
    state: TrainingState,
    base: int,
    *counted: bytes,
    dropped: tuple[bytes, ...] = (),
    is_empty: bool = False,
    lag: int = 1,
) -> TrainingState:
    model = BaseModel(base, bytes(32), base)
    pairs = [tuple((key, base) for key in keys) for keys in (counted, dropped)]
    after, calls = training.execute(CountUpdates(model, *pairs, is_empty), context(base + 1, lag), state)
    assert calls == ()
    after, calls = training.end_block(context(base + 1), after)
    assert calls == ()
    return after


def test_nobody_has_trained_at_first() -> None:
    assert START.last_base(A) == -1
    assert not START.is_paused(A, 1)


def test_counted_and_dropped_updates_are_used_up() -> None:
    state = count(START, 4, B, dropped=(C,))
    assert [state.last_base(key) for key in (A, B, C)] == [-1, 4, 4]
    assert state.last_trainers == (B,)
    with pytest.raises(AssertionError):
        count(state, 4, B)
    assert count(state, 5, B).last_base(B) == 5


def test_bases_are_kept_by_key() -> None:
    state = count(count(START, 0, C), 1, A, B)
    assert [entry.key for entry in state.last_bases] == [A, B, C]
    assert state.last_base(C) == 0


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_as_many_older_models_are_kept_as_updates_of_the_next_block_may_be_from(lag: int) -> None:
    state = START
    for base in range(5):
        state = count(state, base, A, lag=lag)
        # The newest of those that the next block may build on is its own model, which the state has.
        assert [model.height for model in state.bases] == list(range(max(0, base + 2 - lag), base + 1))
    names = [name for name, _ in training.leaves(state)]
    assert (b"bases" in names) is (lag > 1)


def test_an_empty_height_uses_updates_up_and_leaves_the_last_set() -> None:
    state = count(count(START, 0, A, B), 1, C, is_empty=True)
    assert state.last_trainers == (A, B)
    assert state.last_base(C) == 1


def test_a_pause_lasts_exactly_so_long_and_a_later_one_replaces_it() -> None:
    state, calls = training.execute(Pause(B, 19), context(9), START)
    assert calls == ()
    assert [state.is_paused(B, height) for height in (10, 19, 20)] == [True, True, False]
    assert not state.is_paused(A, 10)
    state = count(state, 17)
    assert state.is_paused(B, 19)
    longer, _ = training.execute(Pause(B, 30), context(18), state)
    assert [entry.height for entry in longer.paused] == [30]
    assert count(state, 18).paused == ()


def test_each_pause_lasts_on_its_own() -> None:
    state = START
    for key, until in ((B, 19), (A, 15)):
        state, _ = training.execute(Pause(key, until), context(9), state)
    assert [(entry.key, entry.height) for entry in state.paused] == [(A, 15), (B, 19)]
