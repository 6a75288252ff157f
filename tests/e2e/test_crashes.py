"""Kill one peer of a running network. The whole walk over all points and moments is benchmarks/crashes.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.judge import BACK_MS_MAX, GAP_MS_MAX, Signatures, slowness, verdict, wait_for_precommit, worst_gap_ms
from e2e.support import TRANSPORTS, Network, Peer, create

# What a crash leaves on the disk is the same whatever carried it: the walk over points stays on tcp.
on_both = pytest.mark.parametrize("net", TRANSPORTS, indirect=True, scope="module")
on_tcp = pytest.mark.parametrize("net", ["tcp"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four peers that all tests of this file share; at the end all of them must have told one story."""
    made = create(tmp_path_factory.mktemp("crashes") / "net", 4, request.param)
    made.said = Signatures()
    try:
        made.start()
        made.wait_for_height(2)
        yield made
        codes = [peer.stop() for peer in made.peers]
    finally:
        made.end()
    assert codes == [128 + signal.SIGTERM] * 4
    assert verdict(made, made.said) == []


def assert_the_network_shrugs(net: Network, victim: Peer, killed_ms: int) -> None:
    """The others go on in time, and the victim's precommit is in a certificate again in time."""
    net.said.add_record(victim.home)
    assert worst_gap_ms(net.others(victim), killed_ms) <= GAP_MS_MAX * slowness()
    height, mark = max(peer.height for peer in net.others(victim)), victim.mark()
    victim.start()
    up_ms = victim.wait("peer.started", after=mark)["time_ms"]  # A busy machine is slow to start Python.
    assert wait_for_precommit(net, victim, height) - up_ms <= BACK_MS_MAX[net.transport] * slowness()


@on_both
def test_killing_the_first_contact_stops_nobody(net: Network) -> None:
    assert_the_network_shrugs(net, net.peers[0], net.peers[0].kill())


@on_both
def test_killing_the_proposer_costs_one_round(net: Network) -> None:
    victim = net.peers[1]
    own = victim.wait("peer.started")["id"]
    victim.wait("round.started", after=victim.mark(), round=0, proposer=own)
    assert_the_network_shrugs(net, victim, victim.kill())


@on_tcp
@pytest.mark.parametrize("point", ["vote_state.durable:6", "block.committed:3"])
def test_a_crash_around_a_durable_write_loses_nothing(net: Network, point: str) -> None:
    victim = net.peers[2]
    victim.stop()
    victim.start(P2PFED_CRASH_AT=point)
    assert victim.wait_for_end() == -signal.SIGKILL
    assert_the_network_shrugs(net, victim, time.time_ns() // 1_000_000)


@on_tcp
@pytest.mark.parametrize("point", ["key.renamed", "held.rows"])
def test_a_peer_that_dies_while_it_joins_can_join_again(net: Network, tmp_path: Path, point: str) -> None:
    contact = net.peers[0].wait("peer.started")["p2p"][0]
    line = (
        "--join", contact, "--chain", net.chain, "--transport", net.transport, "--port", "0", "--no-http",
        "--sync", "blocks",
    )  # fmt: skip
    joiner = Peer(tmp_path / "joiner")
    try:
        joiner.start(*line, P2PFED_CRASH_AT=point)
        assert joiner.wait_for_end() == -signal.SIGKILL
        joiner.start(*line)
        joiner.wait_for_height(net.peers[0].height)
        assert joiner.stop() == 128 + signal.SIGTERM
    finally:
        joiner.end()
