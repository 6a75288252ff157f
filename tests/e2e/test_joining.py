"""Peers that come late: without blocks, without data, without membership, without their first contact."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.judge import Signatures, verdict, wait_for_precommit
from e2e.support import TRANSPORTS, Network, Peer, create, p2pfed

from p2pfed.consensus.signer import decode_record
from p2pfed.storage.vote_state import VoteStateFile

# Whoever follows without a voice does as every late peer does: once is enough.
on_both = pytest.mark.parametrize("net", TRANSPORTS, indirect=True, scope="module")
on_tcp = pytest.mark.parametrize("net", ["tcp"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four members of whom the last one is not there at first."""
    made = create(tmp_path_factory.mktemp("joining") / "net", 4, request.param)
    try:
        for peer in made.peers[:3]:
            peer.start()
        for peer in made.peers[:3]:
            peer.wait_for_height(3)
        yield made
        for peer in made.peers:
            if peer.is_running:
                assert peer.stop() == 128 + signal.SIGTERM
    finally:
        made.end()
    assert verdict(made, Signatures()) == []


def assert_it_takes_part(net: Network, peer: Peer, height: int) -> None:
    """`peer` fetches what it lacks; then others count its votes and its updates in blocks above `height`."""
    own = peer.wait("peer.started")["id"]
    wait_for_precommit(net, peer, height)
    other = next(found for found in net.others(peer) if found.is_running)
    merged = other.wait_where(
        "block.committed",
        lambda e: e["height"] > height and own in e["trainers"],
        f"an update of {peer.name}",
    )
    peer.wait_for_height(merged["height"])


@on_both
def test_a_peer_that_starts_late_fetches_the_blocks_and_takes_part(net: Network) -> None:
    late, height = net.peers[3], net.peers[0].height
    late.start()
    assert_it_takes_part(net, late, height)
    first = late.find("block.committed", height=1)
    assert first is not None
    assert first["caught_up"]


@on_both
def test_a_peer_that_lost_its_data_fetches_all_of_it_again(net: Network) -> None:
    peer = net.peers[2]
    peer.stop()
    shutil.rmtree(peer.home.data)
    height, mark = net.peers[0].height, peer.mark()
    peer.start("--sync", "blocks")  # From 32 heights on it would begin with a snapshot.
    peer.wait("block.committed", after=mark, height=1)
    assert_it_takes_part(net, peer, height)


@on_both
def test_a_member_with_a_key_and_nothing_else_joins_by_the_printed_line(net: Network) -> None:
    peer = net.peers[1]
    command = net.peers[0].wait("peer.join_line")["command"].split()
    port = peer.wait("peer.started")["p2p"][0].split("/")[4]
    peer.stop()
    for path in (peer.home.data, peer.home.run):
        shutil.rmtree(path)
    for path in (peer.home.genesis, peer.home.config, peer.home.peers):
        path.unlink()
    height, mark = net.peers[0].height, peer.mark()
    signed = decode_record(VoteStateFile(peer.home.vote_state).load())
    peer.start(
        *command[2:],
        "--transport",
        net.transport,
        "--port",
        port,
        "--no-http",
        "--app",
        "digits:mlp",
        "--sync",
        "blocks",
    )
    peer.wait("block.committed", after=mark, height=1)
    assert decode_record(VoteStateFile(peer.home.vote_state).load()).height >= signed.height
    assert_it_takes_part(net, peer, height)


@on_tcp
def test_a_key_that_genesis_does_not_list_follows(net: Network, tmp_path: Path) -> None:
    observer = Peer(tmp_path / "observer")
    command = net.peers[0].wait("peer.join_line")["command"].split()
    observer.start(*command[2:], "--transport", net.transport, "--port", "0", "--no-http", "--sync", "blocks")
    try:
        height = net.peers[0].height + 2
        followed = observer.wait_for_height(height)
        assert followed["value_id"] == net.peers[0].wait_for_height(height)["value_id"]
        assert not observer.wait("peer.started")["is_member"]
        assert observer.output.count("follows as an observer") == 1
        assert observer.stop() == 128 + signal.SIGTERM
    finally:
        observer.end()
    assert p2pfed("verify", "--home", observer.home.path).returncode == 0


@on_both
def test_a_peer_finds_the_network_though_its_first_contact_is_gone(net: Network) -> None:
    gone, peer = net.peers[0], net.peers[3]
    gone.stop()
    peer.stop()
    height, mark = net.peers[1].height, peer.mark()
    peer.start()  # Its configuration names the one that is gone; two of four alone can't go on.
    peer.wait("peer.started", after=mark)
    wait_for_precommit(net, peer, height)
