"""A block is told with its figures, and never kept back for them beyond the next block."""

from __future__ import annotations

from p2pfed.api.happenings import Block, PeerSuspected, Reader, UpdateRefused, UpdateSkipped
from p2pfed.runtime.feed import Entry

COMMITTED = {
    "round": 0, "value_id": "aa", "model_root": "bb", "rule": "mean", "updates": 2, "expected": 3,
    "trainers": ["one", "two"], "took_ms": 5, "is_empty": False,
}  # fmt: skip


def entry(event: str, **data: object) -> Entry:
    return Entry(0, event, data)


def committed(height: int) -> Entry:
    return entry("block.committed", height=height, **COMMITTED)


def test_a_block_comes_with_its_figures() -> None:
    reader = Reader()
    assert reader.read(committed(1)) == ()
    (block,) = reader.read(entry("block.evaluated", height=1, loss=0.5))
    assert block == Block(1, "aa", "bb", "mean", 2, 3, ("one", "two"), 0, 5, False, {"loss": 0.5})
    assert reader.flush() == ()


def test_a_block_whose_learner_hangs_comes_with_the_next_and_late_figures_are_nobodys() -> None:
    reader = Reader()
    reader.read(committed(1))
    (first,) = reader.read(committed(2))
    assert isinstance(first, Block)
    assert (first.height, first.figures) == (1, {})
    assert reader.read(entry("block.evaluated", height=1, loss=0.5)) == ()
    (last,) = reader.flush()
    assert last.height == 2


def test_suspicions_are_told_with_their_reason() -> None:
    reader = Reader()
    assert reader.read(entry("peer.blamed", peer="x", reason="garbage")) == (PeerSuspected("x", "garbage"),)
    assert reader.read(entry("peer.equivocated", height=7, culprit="y", kind="E1")) == (
        PeerSuspected("y", "evidence E1 at height 7"),
    )
    assert reader.read(entry("peer.jailed", height=9, validator="z")) == (
        PeerSuspected("z", "away too long at height 9"),
    )
    assert reader.read(entry("update.refused", height=2, trainer="x", reason="norm")) == (
        UpdateRefused(2, "x", "norm"),
    )
    assert reader.read(entry("update.skipped", height=2, reason="NaN")) == (UpdateSkipped(2, "NaN"),)
    assert reader.read(entry("dial.failed", address="a", reason="b")) == ()
