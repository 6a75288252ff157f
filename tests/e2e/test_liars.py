"""Liars among real processes: each is refused, named or convicted, and the honest go on with one model."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.support import TRANSPORTS, Event, Network, Peer, create, p2pfed, tracebacks

from p2pfed.chain.state import decode_ledger
from p2pfed.ledger.state import LedgerState
from p2pfed.storage.block_store import BlockStore
from p2pfed.types.address import peer_id

HEIGHTS = 4


@contextmanager
def running(net: Network) -> Iterator[Network]:
    try:
        net.start()
        yield net
    finally:
        net.end()


def ids(net: Network) -> list[str]:
    """Return the peer ids in the order of the peers' names."""
    return [peer_id(key) for key in net.keys]


def commits(peer: Peer) -> list[Event]:
    return [event for event in peer.events if event["event"] == "block.committed"]


def assert_they_agree(honest: list[Peer]) -> None:
    """Every honest peer has the same blocks as far as both went, and none stumbled."""
    chains = [[event["value_id"] for event in commits(peer)] for peer in honest]
    for chain in chains[1:]:
        common = min(len(chain), len(chains[0]))
        assert chain[:common] == chains[0][:common]
    assert tracebacks(honest) == []


def stop(peers: list[Peer]) -> None:
    for peer in peers:
        peer.send(signal.SIGTERM)
    for peer in peers:
        assert peer.wait_for_end() in (143, 0)


def ledger(peer: Peer) -> LedgerState:
    chain = BlockStore(peer.home.chain_db, None)
    try:
        data = chain.ledger(chain.height)
    finally:
        chain.close()
    assert data is not None
    return decode_ledger(data)


def assert_all_is_sound(peer: Peer) -> None:
    done = p2pfed("verify", "--deep", "--json", "--home", peer.home.path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["problems"]) == (0, [])
    assert report["recomputed"] > 0


def test_garbage_changes_nothing_but_the_senders_name(tmp_path: Path) -> None:
    """Garbage, truncated, oversized, forged and replayed bytes: the model is that of a silent peer's network.

    The three honest updates are in every block of both networks: `updates_min` is 3 and the liar sends none,
    so a height with fewer would carry no model; nobody's patience ends before a second has passed.
    """
    options = ("--byzantine", "1:garbage_bytes", "--updates-min", "3", "--preset", "lan",
               "--heights", str(HEIGHTS), "--rules", "median", "--seed", "7")  # fmt: skip
    garbage = create(tmp_path / "garbage", 4, "tcp", *options)
    shutil.copytree(garbage.folder, tmp_path / "silent")
    silent = Network(tmp_path / "silent", "tcp")
    config = silent.peers[3].home.config
    config.write_text(config.read_text().replace('"garbage_bytes"', '"silent"'))
    roots: list[list[str]] = []
    for net in (garbage, silent):
        honest, liar = net.peers[:3], net.peers[3]
        with running(net):
            for peer in honest:
                assert peer.wait_for_end(120) == 0, peer.output[-2000:]
            assert liar.find("adversary.acted") is not None
        assert_they_agree(honest)
        assert [event["updates"] for event in commits(honest[0])] == [3] * HEIGHTS
        roots.append([event["model_root"] for event in commits(honest[0])])
        if net is garbage:
            # Whoever it reached names it; banned at once, it may never learn where the last one listens.
            blamed = [
                {e["peer"] for e in p.events if e["event"] in ("peer.fault", "peer.blamed")} for p in honest
            ]
            assert set().union(*blamed) == {ids(net)[3]}
            warnings = [f'"peer.fault", "peer": "{ids(net)[3]}"' in peer.output for peer in honest]
            assert warnings == [bool(names) for names in blamed]  # In the log that people read.
    assert roots[0] == roots[1]
    assert len(set(roots[0])) == HEIGHTS


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proposer_that_adds_one_to_a_coordinate_is_refused_by_everybodys_own_recomputation(
    transport: str, tmp_path: Path
) -> None:
    net = create(tmp_path / "net", 4, transport, "--byzantine", "1:wrong_aggregate")
    honest, liar = net.peers[:3], ids(net)[3]
    with running(net):
        for peer in honest:
            refused = peer.wait("proposal.refused", proposer=liar)
            assert "aggregate_root" in refused["reason"]
        height = max(peer.find("proposal.refused")["height"] for peer in honest)
        for peer in honest:
            assert peer.wait_for_height(height)["round"] >= 1
            peer.wait_for_height(height + 2)
        stop(net.peers)
    assert_they_agree(honest)
    assert_all_is_sound(honest[0])
    assert {e["proposer"] for peer in honest for e in peer.events if e["event"] == "proposal.refused"} == {
        liar
    }


def test_two_votes_and_two_proposals_are_convicted_and_the_network_goes_on(tmp_path: Path) -> None:
    options = ("--byzantine", "1:double_vote", "--byzantine", "1:equivocating_proposer",
               "--stake", "18,18,18,13,13", "--rules", "mean")  # fmt: skip
    net = create(tmp_path / "net", 5, "tcp", *options)
    honest, (voter, proposer) = net.peers[:3], ids(net)[3:]
    with running(net):
        verdicts = {}
        for culprit, kind in ((voter, "DUPLICATE_VOTE"), (proposer, "DUPLICATE_PROPOSAL")):
            slashed = [peer.wait("peer.slashed", culprit=culprit, timeout_s=60) for peer in honest]
            assert {(event["kind"], event["height"]) for event in slashed} == {(kind, slashed[0]["height"])}
            verdicts[culprit] = slashed[0]["height"]
        assert any(peer.find("peer.equivocated", culprit=voter) for peer in honest)
        gone_from = verdicts[voter] + 2
        for peer in honest:
            peer.wait_for_height(max(verdicts.values()) + 4, 60)
        stop(net.peers)
    assert_they_agree(honest)
    staking = ledger(honest[0]).staking
    last = staking.validators_at(honest[0].height)
    assert last is not None
    assert last.index_of(net.keys[3]) is None  # A tombstone: it neither votes nor trains again.
    assert last.index_of(net.keys[4]) is not None
    for event in commits(honest[0]):
        assert (event["height"] < gone_from) or (voter not in event["trainers"]), event
    totals = {event["height"]: event["total_power"] for event in commits(honest[0])}
    assert totals[gone_from - 1] > totals[gone_from]
    assert_all_is_sound(honest[0])


def test_payloads_that_nobody_can_use_are_left_out_and_their_senders_named(tmp_path: Path) -> None:
    kinds = ("garbage_payload", "wrong_shape", "withheld_payload")
    options = [word for kind in kinds for word in ("--byzantine", f"1:{kind}")]
    net = create(tmp_path / "net", 7, "tcp", *options, "--stake", "20,20,20,20,10,10,10", "--rules", "mean")
    honest, liars = net.peers[:4], ids(net)[4:]
    with running(net):
        for peer in honest:
            peer.wait_for_height(4, 90)
        stop(net.peers)
    assert_they_agree(honest)
    blocks = commits(honest[0])
    assert all(not set(liars) & set(event["trainers"]) for event in blocks)
    assert max(event["updates"] for event in blocks) == 4
    named = set()
    for peer in honest:
        refused = {event["trainer"] for event in peer.events if event["event"] == "update.refused"}
        faults = {event["peer"] for event in peer.events if event["event"] == "peer.fault"}
        assert {liars[0], liars[2]} <= refused
        assert refused | faults <= set(liars)
        named |= refused | faults
    assert named == set(liars)  # Wrong shapes cost their sender its pipes: it may never reach the last one.
