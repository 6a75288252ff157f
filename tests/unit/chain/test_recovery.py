"""What a peer can stand for after a crash: a value counts as valid only with all of its data (W8)."""

from __future__ import annotations

from support.chain import World

from p2pfed.chain.recovery import usable_history
from p2pfed.consensus.io import LocalValue
from p2pfed.consensus.journal import Began, Entry
from p2pfed.primitives.digest import sha256


def test_a_history_is_used_only_while_body_and_payloads_of_its_values_are_here() -> None:
    world = World([10, 10, 10, 10])
    header, body, _ = world.build()
    history: tuple[Entry, ...] = (Began(1, 0, None), LocalValue(0, header))
    payloads = {update.payload_root for update in body.updates}
    assert len(payloads) == 4
    assert usable_history(history, 1, lambda _: body, payloads.__contains__) == (history, "")
    assert usable_history(history, 1, lambda _: None, payloads.__contains__) == (
        (),
        f"the body of value {header.value_id.hex()[:12]}… is gone",
    )
    for lost in sorted(payloads):
        assert usable_history(history, 1, lambda _: body, (payloads - {lost}).__contains__) == (
            (),
            f"the payload {lost.hex()[:12]}… of a checked value is gone",
        )
    assert usable_history(history, 2, lambda _: None, payloads.__contains__) == ((), "")


def test_a_payload_that_the_value_does_not_merge_may_be_gone() -> None:
    world = World([10, 10, 10, 10])
    dropped = world.double_update(3)
    header, body, _ = world.build(headers=(*world.updates()[:3], dropped.first, dropped.second))
    history: tuple[Entry, ...] = (Began(1, 0, None), LocalValue(0, header))
    gone = {dropped.first.payload_root, dropped.second.payload_root, sha256(b"another")}
    assert usable_history(history, 1, lambda _: body, lambda root: root not in gone) == (history, "")
