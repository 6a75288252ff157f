"""The picture of `watch` shows what was seen, and fits; text of others can't move the cursor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from p2pfed.cli.watch_view import HEIGHTS_MAX, View
from p2pfed.learning.learner import ACCURACY_PUBLIC, LOSS_PUBLIC
from p2pfed.runtime.feed import Entry


def entry(event: str, **data: Any) -> Entry:
    return Entry(1_700_000_000_000, event, data)


def block(height: int, accuracy: float) -> list[Entry]:
    facts = {"updates": 3, "expected": 4, "round": 0, "value_id": "ab" * 32, "signed_power": 30,
             "total_power": 40, "caught_up": False, "took_ms": 150}  # fmt: skip
    figures = {ACCURACY_PUBLIC: accuracy, LOSS_PUBLIC: 1 - accuracy}
    return [
        entry("block.committed", height=height, **facts),
        entry("block.evaluated", height=height, **figures),
    ]


@pytest.fixture
def view() -> View:
    view = View("127.0.0.1:8400", "accuracy>=0.9")
    view.take(entry("peer.joined", peer="16Uiu2HAmAAAAkQ7w", connected_power=20, total_power=40))
    view.take(entry("peer.joined", peer="16Uiu2HAmBBBBxY2z", connected_power=30, total_power=40))
    for height in range(1, 21):
        for happened in block(height, height / 25):
            view.take(happened)
    return view


def test_it_shows_where_the_network_is_and_who_is_there(view: View) -> None:
    view.take(entry("peer.left", peer="16Uiu2HAmBBBBxY2z", connected_power=20, total_power=40, reason="bye"))
    view.take(entry("height.started", height=21))
    text = "\n".join(view.frame(100, 40))
    assert "127.0.0.1:8400  height 20  until accuracy>=0.9" in text
    assert "height 21: collects updates" in text
    assert "peers   1 connected: …kQ7w" in text
    assert "stake   20 of 40 connected" in text
    assert "updates 3 of 4" in text
    assert "accuracy 0.800 at height 20, from 1 on" in text
    assert "loss     0.200 at height 20, from 1 on" in text
    assert "block.committed  h=20" in text


@pytest.mark.parametrize("size", [(20, 6), (40, 10), (80, 24), (200, 60)])
def test_it_fits_into_every_terminal(view: View, size: tuple[int, int]) -> None:
    for is_plain in (False, True):
        lines = view.frame(*size, is_plain=is_plain)
        assert len(lines) <= size[1]
        assert max(map(len, lines)) <= size[0]
        assert not is_plain or all(line.isascii() for line in lines)


def test_text_of_others_can_not_move_the_cursor(view: View) -> None:
    view.take(
        entry("update.refused", height=20, trainer="16Uiu2HAmAAAAkQ7w", reason="\x1b[2J\x1b]0;mine\x07 gone")
    )
    text = "\n".join(view.frame(120, 50))
    assert "update.refused" in text
    assert "\x1b" not in text


def test_the_curve_begins_where_the_chain_does_and_holds_so_many_heights(view: View) -> None:
    view.remember({"figures": {"0": {ACCURACY_PUBLIC: 0.01}, "3": {"other": 1.0}}})
    assert "from 0 on" in "\n".join(view.frame(100, 40))
    for happened in block(HEIGHTS_MAX + 5, 0.5):
        view.take(happened)
    assert min(view.figures[ACCURACY_PUBLIC]) == 6


def test_peers_come_and_go_while_it_is_drawn(view: View) -> None:
    def come_and_go() -> None:
        for number in range(5_000):
            for event in ("peer.joined", "peer.left"):
                view.take(
                    entry(event, peer=f"16Uiu2HAm{number:08}", connected_power=20, total_power=40, reason="")
                )

    for number in range(200):
        view.take(entry("peer.joined", peer=f"stays{number:08}", connected_power=20, total_power=40))
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(come_and_go)
        while not going.done():
            assert "connected" in "".join(view.frame(100, 12))
        going.result()


def test_nothing_has_happened_yet() -> None:
    assert View("127.0.0.1:1").frame(80, 24)[1] == "step    waits for the first block"
