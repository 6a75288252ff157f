"""What is kept is a function of the tip."""

from __future__ import annotations

from p2pfed.storage import retention


def test_payloads_of_eight_heights_are_kept() -> None:
    for tip in range(200):
        kept = [height for height in range(-5, tip + 5) if retention.keeps_payloads(height, tip)]
        assert kept == list(range(max(-5, tip - 7), tip + 1))


def test_models_of_genesis_the_last_eight_and_four_snapshots_are_kept() -> None:
    for tip in range(400):
        snapshots = list(range(0, tip + 1, 32))[-4:]
        expected = {0, *snapshots, *range(max(0, tip - 7), tip + 1)}
        assert {height for height in range(tip + 40) if retention.keeps_model(height, tip)} == expected


def test_what_is_dropped_is_exactly_what_was_kept_before() -> None:
    for tip in range(1, 400):
        before = {height for height in range(tip) if retention.keeps_model(height, tip - 1)}
        after = {height for height in range(tip) if retention.keeps_model(height, tip)}
        assert set(retention.dropped(tip)) >= before - after
        assert not set(retention.dropped(tip)) & after
