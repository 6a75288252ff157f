"""A peer without data joins real processes by state, one of whom serves bad chunks over the real wire."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.grown import Grown
from e2e.support import PORTS_FIRST, PORTS_LAST, Peer, p2pfed
from support.pages import json_keys

from p2pfed.cli.reading import tip_of
from p2pfed.runtime.demo.network import free_ports
from p2pfed.storage import retention
from p2pfed.types.address import peer_id

S = retention.SNAPSHOT_INTERVAL
HEIGHTS = S + 1
LIAR, JOINER = 0, 3  # Keys ascend, so of several holders the liar is asked first.
APP = f"{Path(__file__).with_name('still.py')}:learner"


@pytest.fixture(scope="module")
def grown() -> Grown:
    # Without the joiner the honest ones are no quorum, so with a liar shut out its votes are needed.
    return Grown([10, 20, 20, 20], time.time_ns() // 1_000_000, HEIGHTS)


@pytest.fixture
def peers(grown: Grown, tmp_path: Path) -> Iterator[list[Peer]]:
    """Three members that have the chain, the first of them a liar, and one that has nothing yet."""
    port = free_ports(4, PORTS_FIRST + os.getpid() * 64 % (PORTS_LAST - PORTS_FIRST))
    made = []
    for member in range(4):
        others = [port + other for other in range(JOINER) if other != member]
        make = grown.empty if member == JOINER else grown.found
        byzantine = "bad_chunks" if member == LIAR else ""
        made.append(Peer(make(tmp_path / f"peer{member}", member, port + member, others, byzantine).path))
    try:
        for peer in made[:JOINER]:
            peer.start("--app", APP)
        yield made
    finally:
        for peer in made:
            peer.end()


def test_a_member_without_data_joins_by_state_past_a_liar_and_votes(grown: Grown, peers: list[Peer]) -> None:
    joiner, liar = peers[JOINER], peer_id(grown.world.publics[LIAR])
    for peer in peers[:JOINER]:
        peer.wait("peer.joined")
    # It is killed when two of four parts are durable. The same command line, or none, goes on from there.
    joiner.start("--sync", "state", P2PFED_CRASH_AT="blob.durable:2")
    assert joiner.wait_for_end() == -signal.SIGKILL
    chosen = joiner.wait("sync.chosen")
    assert joiner.home.sync.exists()
    assert tip_of(joiner.home) == (0, "")
    held = {path: path.stat().st_ino for path in joiner.home.blobs.glob("sha256/*/*")}
    assert len(held) == 2
    joiner.start()
    synced = joiner.wait("sync.finished")
    assert synced["height"] == chosen["height"]
    assert not joiner.home.sync.exists()
    assert {path: path.stat().st_ino for path in held} == held  # Not fetched again.
    assert synced["height"] >= S
    assert synced["height"] % S == 0
    if synced["height"] == S:
        assert synced["value_id"] == grown.steps[S - 1][0].header.value_id.hex()
    blamed = joiner.wait("peer.blamed")
    assert blamed["peer"] == liar
    assert "chunk" in blamed["reason"]
    # It works on heights of its own, in step with the others, and they count its precommits.
    own = joiner.wait("block.committed", caught_up=False)
    other = peers[1].wait_for_height(own["height"])
    assert (own["value_id"], own["model_root"]) == (other["value_id"], other["model_root"])
    assert {event["peer"] for event in joiner.events if event["event"] == "peer.blamed"} == {liar}
    joiner.stop()
    seen = json.loads(p2pfed("inspect", "--json", "--home", joiner.home.path).stdout)
    assert (seen["problem"], seen["base"]) == ("", synced["height"])
    assert set(seen) <= json_keys("p2pfed.inspect/1")
    gone = p2pfed("rollback", str(synced["height"]), "--yes", "--json", "--home", joiner.home.path)
    assert gone.returncode == 0, gone.stderr
    assert set(json.loads(gone.stdout)) == json_keys("p2pfed.rollback/1")
    assert json.loads(gone.stdout)["height"] == synced["height"]
    healthy = p2pfed("doctor", "--json", "--home", joiner.home.path)
    findings = [json.loads(line) for line in healthy.stdout.splitlines()]
    assert (healthy.returncode, [found for found in findings if found["state"] == "fail"]) == (0, [])
    assert findings
    assert all(set(found) <= json_keys("p2pfed.doctor/1") for found in findings)
    mark = joiner.mark()
    joiner.start()
    again = joiner.wait("block.committed", after=mark, height=own["height"])
    assert (again["value_id"], again["caught_up"]) == (own["value_id"], True)
    for peer in (joiner, peers[1]):
        peer.stop()
    assert p2pfed("verify", "--home", joiner.home.path).returncode == 0
    shown = json.loads(p2pfed("verify", "--independent", "--json", "--home", joiner.home.path).stdout)
    assert shown["sound"]
