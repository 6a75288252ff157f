"""The power goes inside a write, anywhere: what is on disk then is enough, and nobody signs twice."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from p2pfed.consensus.io import ValueReady
from p2pfed.consensus.journal import Entry
from p2pfed.consensus.signer import SignRecord, initial_record
from p2pfed.node.facts import Listening
from p2pfed.primitives import codec
from p2pfed.sim.disk import Disk
from p2pfed.sim.log_checker import LogChecker
from p2pfed.sim.log_files import MemoryFiles
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.power import WRITE
from p2pfed.sim.scenario import Crash, Scenario
from p2pfed.sim.world import Result, World
from p2pfed.storage.crash_points import NAMES
from p2pfed.storage.vote_state import render_record

# What a peer at work writes in a few heights; `benchmarks/crash_points.py` also strikes the rare ones.
POINTS = [
    name
    for name in NAMES
    if name.startswith(("vote_state.", "blob.", "peers.", "block.", "pending.", "polka.", "log."))
    and name not in ("blob.deleted", "log.cut", "log.ended", "log.dropped")
]


def run(**changes: object) -> tuple[World, Result]:
    world = World(Scenario(**{"heights": 4, **changes}))
    return world, world.run()


@pytest.mark.parametrize("first", range(0, len(POINTS), 4))
def test_four_peers_die_at_four_crash_points_and_nobody_signs_twice(first: int) -> None:
    names = POINTS[first : first + 4]
    crashes = tuple(
        Crash(peer, int(not name.startswith("peers.")), 100 + 40 * peer, name)
        for peer, name in enumerate(names)
    )
    world, result = run(crashes=crashes, seed=first + 1)
    assert result.violations == ()
    assert result.heights == (4, 4, 4, 4)
    assert [peer.switch.struck for peer in world.peers[: len(names)]] == [[name] for name in names]


def test_a_peer_that_dies_again_while_it_cuts_its_torn_log_recovers_all_the_same() -> None:
    crashes = (Crash(0, 6, 100, "log.written"), Crash(0, 0, 100, "log.cut"))
    for seed in range(1, 9):
        world, result = run(crashes=crashes, seed=seed)
        assert result.violations == ()
        if "log.cut" in world.peers[0].switch.struck:
            return
    raise AssertionError("no log was torn")


def test_a_disk_that_loses_what_it_had_synced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFiles, "sync", lambda self, name: None)
    _, result = run(crashes=(Crash(1, 90, 100, WRITE),))
    assert "was durable" in result.violations[0]


def test_a_log_that_leaves_out_what_a_check_found_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    append = LogChecker.append

    def forgetful(self: LogChecker, seq: int, entry: Entry) -> None:
        if not isinstance(entry, ValueReady):
            append(self, seq, entry)

    monkeypatch.setattr(LogChecker, "append", forgetful)
    crashes = [Crash(peer, 2, 100, "vote_state.durable") for peer in (1, 2)]  # The first prevote of each.
    seen = [run(crashes=(crash,))[1].violations for crash in crashes]  # One of the two may be the proposer.
    assert any("gives another state" in text for violations in seen for text in violations)


class Tampered(World):
    """A world in which somebody puts another record on the disk of a dead peer."""

    def __init__(self, scenario: Scenario, change: Callable[[Disk, SignRecord], SignRecord]) -> None:
        super().__init__(scenario)
        self._change = change

    def died(self, peer: SimPeer, down_ms: int) -> None:
        record = self._change(peer.disk, peer.disk.load_record())
        peer.disk._synced["record"] = render_record(codec.encode(record))
        super().died(peer, down_ms)


def test_a_vote_state_put_back_from_an_older_copy_is_refused_at_the_start() -> None:
    """Nobody could tell from the store: it has no block of that height. The log holds what was said."""

    def at_the_block(disk: Disk, record: SignRecord) -> SignRecord:
        return msgspec.structs.replace(initial_record(), height=disk.height, round=0, step=3)

    for passing in range(
        3, 9
    ):  # A sync before a precommit makes the prevote of its round durable in the log.
        crash = Crash(2, passing, 100, "log.durable")
        violations = Tampered(Scenario(heights=4, crashes=(crash,)), at_the_block).run().violations
        if violations:
            assert "vote_state.json is older than the log" in violations[0]
            assert "put back the newest vote_state.json" in violations[0]
            return
    raise AssertionError("it always started")


def test_a_whole_network_whose_records_are_behind_listens_and_goes_on() -> None:
    """R6 is a wait in time: if it were one in heights, all of them would wait for each other for ever."""

    def behind(disk: Disk, record: SignRecord) -> SignRecord:
        for name in disk.log_files.names():
            disk.log_files.delete(name)
        return msgspec.structs.replace(initial_record(), height=disk.height - 1, round=0, step=3)

    crashes = tuple(Crash(peer, 1, 100, "block.committed") for peer in range(4))
    world = Tampered(Scenario(heights=5, crashes=crashes), behind)
    world.judge.checkers.persisted = lambda peer, record: None  # type: ignore[method-assign]
    for peer in world.peers:
        peer._log_checker.recovered = lambda entries: ""  # type: ignore[method-assign]
    result = world.run()
    assert result.violations == ()
    assert result.heights == (5, 5, 5, 5)
    assert len({peer for _, peer, fact in world.facts if isinstance(fact, Listening)}) == 4
