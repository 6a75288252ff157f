"""An account bonds from the command line, votes, pays and takes its stake home: three processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.judge import Signatures
from e2e.support import Event, Network, Peer, network, p2pfed, tracebacks, wait_until
from support.pages import json_keys

from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.block_store import BlockStore
from p2pfed.types.address import peer_id
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block
from p2pfed.types.validators import ValidatorSet, validator_set

STRANGER = PrivateKey(b"\x21" * 32).public
BOND = 5  # An eighth of what votes: all of it may come, and go, in one epoch.


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two validators, and a member with an account and no vote."""
    folder = tmp_path_factory.mktemp("stake") / "net"
    with network(folder, 3, "tcp", "--stake", "20,20,0", "--balance", "100") as net:
        net.wait_for_height(1)
        yield net


def sent(peer: Peer, *command: str) -> dict[str, Any]:
    """Return what a command that sends a transaction prints once a block holds it."""
    done = p2pfed(*command, "--home", peer.home.path, "--json")
    assert done.returncode == 0, done.stderr
    row: dict[str, Any] = json.loads(done.stdout)
    assert (row["kind"], row["final"]) == (command[0], True)
    assert set(row) == json_keys("p2pfed.transaction/1")
    return row


def status(peer: Peer) -> dict[str, Any]:
    done = p2pfed("status", "--home", peer.home.path, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def changed(net: Network) -> Event:
    """Return the first change of the set, of which all peers tell the same."""
    events = [peer.wait("validators.changed") for peer in net.peers]
    told = [{key: value for key, value in event.items() if key != "time_ms"} for event in events]
    assert told[0] == told[1] == told[2]
    return events[0]


def block_of(peer: Peer, height: int) -> Block:
    peer.wait_for_height(height)
    chain = BlockStore(peer.home.chain_db, None)
    try:
        block = chain.block(height)
    finally:
        chain.close()
    assert block is not None
    return block


def with_newcomer(net: Network) -> ValidatorSet:
    members = read_genesis(net.peers[0].home).validators.validators
    return validator_set([*((entry.key, entry.power) for entry in members), (net.keys[2], BOND)])


def test_an_account_bonds_and_its_votes_and_updates_are_in_blocks_two_heights_later(net: Network) -> None:
    newcomer, other = net.peers[2], net.peers[0]
    assert status(newcomer)["account"]["power"] == 0
    assert status(newcomer)["stake_total"] == 40
    row = sent(newcomer, "bond", str(BOND))
    assert (row["account"]["balance"], row["account"]["bond"], row["account"]["power"]) == (95, BOND, BOND)
    change, wider = changed(net), with_newcomer(net)
    assert (change["joined"], change["left"], change["total_power"]) == ([peer_id(net.keys[2])], [], 45)
    first = change["from_height"]
    block = block_of(other, change["height"])
    assert [type(transaction).__name__ for transaction in block.body.transactions] == ["Bond"]
    assert change["height"] == first - 2
    assert block_of(other, first - 1).header.validators_hash == read_genesis(other.home).validators.hash
    index = wider.index_of(net.keys[2])
    assert index is not None

    def has_voted_and_trained() -> bool:
        voted = trained = False
        for height in range(first, other.height + 1):
            found = block_of(other, height)
            assert found.header.validators_hash == wider.hash
            voted |= index in indices_of(found.commit.bitmap, len(wider))
            trained |= any(update.trainer == net.keys[2] for update in found.body.updates)
        return voted and trained

    wait_until(has_voted_and_trained, "a precommit and an update of the newcomer in blocks")
    shown = json.loads(
        p2pfed("blocks", "show", str(change["height"]), "--home", other.home.path, "--json").stdout
    )
    assert shown["transactions"][0] == {
        "kind": "bond",
        "sender": net.keys[2].hex(),
        "amount": BOND,
        "fee": 0,
        "nonce": 0,
    }


def test_stake_is_sent_to_a_key_that_nobody_knew(net: Network) -> None:
    row = sent(net.peers[0], "transfer", peer_id(STRANGER), "7", "--fee", "3")
    assert row["account"]["balance"] in (90, 91)  # Half of the fee comes back where it proposed the block.
    refused = p2pfed("transfer", "nobody", "7", "--home", net.peers[0].home.path)
    assert (refused.returncode, "KEY is a public key" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("bond", "1000"), "amount and fee are 1000, the balance is"),
        (("unbond", "1000"), "to unbond 1000 where 20 is bonded"),
        (("unjail",), "is not in jail"),
    ],
)
def test_what_the_ledger_refuses_is_told_at_once(command: tuple[str, ...], words: str, net: Network) -> None:
    done = p2pfed(*command, "--home", net.peers[1].home.path)
    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr


def test_who_takes_its_stake_home_leaves_the_vote_and_waits(net: Network) -> None:
    newcomer = net.peers[2]
    seen = {event["height"] for event in net.peers[0].events if event["event"] == "validators.changed"}
    row = sent(newcomer, "unbond", str(BOND))
    assert (row["account"]["bond"], row["account"]["unbonding"]) == (0, BOND)
    change = net.peers[0].wait_where(
        "validators.changed", lambda event: event["height"] not in seen, "another change of the set"
    )
    assert (change["left"], change["total_power"]) == ([peer_id(net.keys[2])], 40)
    after = block_of(net.peers[0], change["from_height"])
    assert after.header.validators_hash == read_genesis(net.peers[0].home).validators.hash
    text = p2pfed("status", "--home", newcomer.home.path).stdout
    assert "bond 0, unbonding 5" in text  # Its balance may hold a part of somebody's fee by now.


def test_the_stores_hold_and_a_stopped_peer_still_tells_its_account(net: Network) -> None:
    newcomer = net.peers[2]
    height = newcomer.height
    newcomer.stop()
    offline = status(newcomer)
    assert (offline["step"], offline["account"]["unbonding"]) == ("stopped", BOND)
    refused = p2pfed("bond", "1", "--home", newcomer.home.path)
    assert (refused.returncode, "start it with `p2pfed run`" in refused.stderr) == (3, True)
    done = p2pfed("verify", "--home", newcomer.home.path, "--json", "--independent")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["heights"] >= height
    assert tracebacks(net.peers) == []
    signatures = Signatures()  # Of certificates of both sets, each read with its own.
    for peer in net.peers:
        signatures.add_home(peer.home)
    assert signatures.contradictions == []
    assert {place[3] for place in signatures.said if place[0] == "Precommit"} == {0, 1, 2}
