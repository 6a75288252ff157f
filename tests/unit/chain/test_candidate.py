"""An update header is a candidate only for the height, model and trainer that it was signed for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.chain import NO_SIGNATURE, World, private_keys
from support.mutate import mutations

from p2pfed.chain.candidate import verify_update
from p2pfed.chain.derive import ages_of
from p2pfed.errors import BadSignature, OutOfBounds, PeerFault, WrongHeight


def test_an_honest_update_is_a_candidate_at_its_height_only() -> None:
    world = World([1] * 4)
    update = world.update(0)
    verify_update(world.state, update)
    world.advance()
    with pytest.raises(WrongHeight, match="from height 0 where 1 is the oldest"):
        verify_update(world.state, update)
    verify_update(world.state, world.update(0))


@pytest.mark.parametrize(
    ("changes", "fault", "text"),
    [
        ({"base_height": 1}, WrongHeight, "from height 1 where 0 is the last one"),
        ({"base_model_root": bytes(32)}, OutOfBounds, "from model 000000000000"),
        ({"payload_bytes": 34}, OutOfBounds, "34 bytes; this model needs 32"),
        ({"payload_bytes": 30}, OutOfBounds, "30 bytes; this model needs 32"),
        ({"codec": 1}, OutOfBounds, "codec 1"),
        ({"trainer": private_keys(5)[4].public}, BadSignature, "update of"),
        ({"trainer": bytes([2]) * 33}, OutOfBounds, "is no trainer"),
    ],
)
def test_a_header_that_breaks_a_rule_names_it(changes: dict[str, Any], fault: type, text: str) -> None:
    world = World([1] * 5)
    with pytest.raises(fault, match=text):
        verify_update(world.state, world.update(0, **changes))


def test_every_field_is_signed() -> None:
    world = World([1] * 4)
    for _, mutated in mutations(world.update(0)):
        with pytest.raises(PeerFault):
            verify_update(world.state, mutated)
    unsigned = msgspec.structs.replace(world.update(0), signature=NO_SIGNATURE)
    with pytest.raises(BadSignature):
        verify_update(world.state, unsigned)


def test_a_tombstoned_or_penniless_trainer_is_none() -> None:
    world = World([1] * 4)
    world.advance(evidence=(world.double_vote(0),))
    with pytest.raises(OutOfBounds, match="is no trainer"):
        verify_update(world.state, world.update(0))
    assert world.publics[0] not in world.state.trainers
    verify_update(world.state, world.update(1))


def test_an_update_of_a_base_that_counted_is_no_candidate() -> None:
    world = World([1] * 4)
    world.advance()
    used = msgspec.structs.replace(world.state.ledger.training.last_bases[0], base_height=world.state.height)
    training = msgspec.structs.replace(
        world.state.ledger.training, last_bases=(used, *world.state.ledger.training.last_bases[1:])
    )
    msgspec.structs.force_setattr(
        world.state, "ledger", msgspec.structs.replace(world.state.ledger, training=training)
    )
    with pytest.raises(WrongHeight, match="counted already"):
        verify_update(world.state, world.update(0))


def test_an_older_update_counts_while_its_model_is_in_the_window_and_nothing_newer_did() -> None:
    world = World([1] * 4, update_lag=3)
    states = [world.state]
    for _ in range(4):
        world.advance(headers=tuple(world.update(place) for place in range(3)))
        states.append(world.state)
    late = {base: world.update(3, base=states[base]) for base in range(5)}
    for base in (2, 3, 4):
        verify_update(world.state, late[base])
    with pytest.raises(WrongHeight, match="from height 1 where 2 is the oldest"):
        verify_update(world.state, late[1])
    with pytest.raises(OutOfBounds, match="from model"):
        verify_update(world.state, world.update(3, base=states[3], base_model_root=states[2].model_root))
    with pytest.raises(WrongHeight, match="from height 3 counted already"):
        verify_update(world.state, world.update(0, base=states[3]))
    world.advance(headers=(*(world.update(place) for place in range(3)), late[3]))
    with pytest.raises(WrongHeight, match="from height 3 counted already"):
        verify_update(world.state, late[3])
    verify_update(world.state, late[4])


def test_an_older_update_is_as_old_as_there_were_new_models_since() -> None:
    world = World([1] * 4, update_lag=4)
    first = world.state
    world.advance(headers=())  # EMPTY: the model stays, so nothing gets older.
    second = world.state
    world.advance(headers=tuple(world.update(place) for place in range(3)))
    late = [world.update(3, base=state) for state in (first, second, world.state)]
    assert [base.train_index for base in world.state.ledger.training.bases] == [0, 0]
    assert ages_of(world.state, late) == (1, 1, 0)
