"""`p2pfed verify` on the disk of a real peer: every flipped bit is found, a wrong aggregate is recomputed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from e2e.support import Network, create, network, p2pfed
from support.flips import (
    Verifiers,
    flipped,
    flipped_file,
    forget_log,
    places,
    seeded_places,
    stored_values,
)

from p2pfed.consensus.certificates import commit_cert
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key
from p2pfed.storage.store import Store
from p2pfed.types.block import Block
from p2pfed.types.vote import Precommit

HEIGHTS = 10  # Payloads and models of the first heights are pruned by then.
VALUES, BYTES = 60, 30
NAMED = ("header", "body", "certificate", "model", "payload")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four peers, one of them convicted of two votes, at the end of their network."""
    options = ("--byzantine", "1:double_vote", "--heights", str(HEIGHTS))
    with network(tmp_path_factory.mktemp("verify") / "net", 4, "tcp", *options) as net:
        for peer in net.peers[:3]:
            assert peer.wait_for_end(90) == 0, peer.output[-2000:]
        yield net


@pytest.fixture
def home(net: Network, tmp_path: Path) -> Home:
    shutil.copytree(net.peers[0].home.path, tmp_path / "home")
    return Home(tmp_path / "home")


def verify(home: Home, *arguments: str) -> tuple[int, dict[str, object]]:
    done = p2pfed("verify", "--json", "--home", home.path, *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_sound_disk_holds_in_all_three_ways(net: Network) -> None:
    code, deep = verify(net.peers[1].home, "--deep")
    assert (code, deep["sound"], deep["problems"], deep["heights"]) == (0, True, [], HEIGHTS)
    assert (
        deep["recomputed"] == 8 - 1
    )  # The payloads of eight heights are held, the model before one of them isn't.
    code, independent = verify(net.peers[1].home, "--independent")
    assert (code, independent["sound"], independent["problems"]) == (0, True, [])
    assert (independent["heights"], independent["blobs"]) == (HEIGHTS, deep["blobs"])


def test_the_stores_of_honest_peers_show_no_fork_and_accuse_nobody_but_the_liar(net: Network) -> None:
    others = [peer.home for peer in net.peers[1:]]
    paths = [home.path for home in others]
    done = p2pfed("verify", "--json", "--home", net.peers[0].home.path, "--audit", *paths)
    report = json.loads(done.stdout)
    assert (done.returncode, report["forks"], report["problems"]) == (0, [], [])
    liar = load_key(others[-1].key).public.hex()
    assert {proof["key"] for proof in report["convicted"]} <= {liar}


def test_one_bit_of_a_block_model_or_payload_ends_verify_with_exit_code_5(home: Home) -> None:
    dice, found = random.Random(1), places(home)
    for number, kind in enumerate(NAMED):
        place = dice.choice(found[kind])
        with flipped(home, place, dice):
            arguments = ((), ("--deep",), ("--independent",))[number % 3]
            code, report = verify(home, *arguments)
            assert (code, report["sound"]) == (5, False), place
            assert report["problems"], place
    assert verify(home)[0] == 0


def test_both_verifiers_find_each_flipped_value(home: Home) -> None:
    dice, verifiers = random.Random(2), Verifiers()
    for place in seeded_places(home, VALUES, dice):
        with flipped(home, place, dice):
            ours, theirs = verifiers.problems(home)
            assert ours, place
            assert theirs, place
    assert verifiers.problems(home) == ([], [])


def test_a_flip_of_the_database_file_is_found_or_changes_no_stored_value(home: Home) -> None:
    dice, verifiers, before = random.Random(3), Verifiers(), stored_values(home)
    size = home.chain_db.stat().st_size
    forget_log(home)
    found = 0
    for _ in range(BYTES):
        at = dice.randrange(size)
        with flipped_file(home, at, dice.randrange(8)):
            ours, theirs = verifiers.problems(home)
            found += bool(ours)
            assert (ours and theirs) or stored_values(home) == before, at
    assert found


def test_a_wrong_aggregate_that_a_quorum_signed_is_found_by_recomputing_it(tmp_path: Path) -> None:
    """The network of one peer: whoever has its key is the quorum, and signs what nobody else would."""
    alone = create(tmp_path / "alone", 1, "tcp", "--heights", "3").peers[0]
    alone.start()
    assert alone.wait_for_end() == 0, alone.output[-2000:]
    forged = forge_last_aggregate(alone.home, Home(tmp_path / "forged"))
    assert verify(forged)[0] == 0
    assert verify(forged, "--independent")[0] == 0  # Without --deep it does not merge.
    code, report = verify(forged, "--independent", "--deep")
    assert (code, report["merged"]) == (5, 3)
    assert report["problems"][0]["what"] == "aggregate_root"
    code, report = verify(forged, "--deep")
    assert code == 5
    (problem,) = report["problems"]
    assert problem.startswith("aggregate_root of height 3")


def forge_last_aggregate(home: Home, forged: Home) -> Home:
    """Return a home with the same chain, but for another aggregate root in the last header, signed anew."""
    genesis, key = read_genesis(home), load_key(home.key)
    shutil.copytree(home.path, forged.path, ignore=shutil.ignore_patterns("chain.db*"))
    before, after = Store(home, genesis, read_only=True), Store(forged, genesis)
    model = before.load_model(0)
    assert model is not None
    after.save_genesis(model, None)
    for height in range(1, before.chain.height + 1):
        block, ledger = before.chain.block(height), before.chain.ledger(height)
        assert block is not None
        assert ledger is not None
        if height == before.chain.height:
            header = msgspec.structs.replace(block.header, aggregate_root=bytes(32))
            vote = Precommit(height, block.commit.round, header.value_id, 0, bytes(64))
            signature = key.sign(vote.digest(genesis.chain_id))
            votes = [msgspec.structs.replace(vote, signature=signature)]
            block = Block(header, block.body, commit_cert(votes, genesis.validators))
        after.save_block(block, ledger, before.load_model(height))
    before.close()
    after.close()
    return forged
