"""Each check of a demonstration can fail: on fabricated runs and on damaged disks."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import tiny_chain

from p2pfed.runtime import testnet
from p2pfed.runtime.demo import checks
from p2pfed.runtime.demo.checks import Check, judge
from p2pfed.runtime.demo.network import NetworkRun
from p2pfed.storage.audit import AuditReport
from p2pfed.storage.home import Home
from p2pfed.storage.scan import Problem

HEIGHTS = 4
NAMES = (
    "the network finished",
    "all honest chains are identical",
    "no fork",
    "every block is signed by more than 2/3 of the stake",
    "every signature verified",
    "the liars were active",
)


def fabricated(folder: Path) -> NetworkRun:
    """Return a run of three honest peers and a liar, all of whom did what they should; no disk yet."""
    kinds = ("", "", "", "sign_flip")
    peers = tuple(
        testnet.TestnetPeer(f"peer{index}", "", 0, 0, kind, "127.0.0.1") for index, kind in enumerate(kinds)
    )
    run = NetworkRun(folder, testnet.Testnet("00", peers))
    run.exit_codes = dict.fromkeys((peer.name for peer in peers), 0)
    run.events = [("peer3", {"event": "adversary.acted", "kind": "sign_flip", "height": 1})]
    return run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("template") / "home")
    tiny_chain.make_home(home, HEIGHTS)
    return home


@pytest.fixture
def run(template: Home, tmp_path: Path) -> NetworkRun:
    """The same run with its disks; what each honest peer reported is what it stored."""
    run = fabricated(tmp_path)
    for name in run.honest:
        shutil.copytree(template.path, tmp_path / name)
        run.events += [
            (name, {"event": "block.committed", "height": step.block.header.height,
                    "value_id": step.block.header.value_id.hex()})
            for step in tiny_chain.steps(HEIGHTS)
        ]  # fmt: skip
    return run


def failed(run: NetworkRun, heights: int = HEIGHTS) -> set[str]:
    verdict = judge(run, tiny_chain.genesis(), heights)
    assert tuple(check.name for check in verdict) == NAMES
    return {check.name for check in verdict if not check.is_held}


def sql(run: NetworkRun, name: str, statement: str) -> None:
    with closing(sqlite3.connect(run.home(name).chain_db, isolation_level=None)) as database:
        database.execute(statement)


def test_a_good_run_passes_every_check(run: NetworkRun) -> None:
    assert failed(run) == set()


def test_a_height_too_few_is_no_finish(run: NetworkRun) -> None:
    assert failed(run, HEIGHTS + 1) == {"the network finished"}


@pytest.mark.parametrize("code", [1, 3, 5, 7, -9, None])
def test_an_honest_peer_that_did_not_end_by_itself_is_no_finish(code: int | None, run: NetworkRun) -> None:
    run.exit_codes["peer1"] = code
    assert "the network finished" in failed(run)
    run.exit_codes |= {"peer1": 0, "peer3": code}  # How a liar ends says nothing.
    assert failed(run) == set()


def test_a_run_that_was_stopped_at_its_deadline_is_no_finish(run: NetworkRun) -> None:
    run.is_overdue = True
    assert failed(run) == {"the network finished"}


def test_a_peer_that_lacks_a_block_or_its_whole_disk_has_another_chain(run: NetworkRun) -> None:
    shutil.rmtree(run.home("peer2").path)
    other = Home(run.home("peer2").path)
    tiny_chain.make_home(other, HEIGHTS - 1)
    assert failed(run) == {"the network finished", "all honest chains are identical"}
    shutil.rmtree(other.path)
    assert failed(run) >= {
        "the network finished",
        "all honest chains are identical",
        "every signature verified",
    }


def test_two_blocks_of_one_height_are_a_fork_wherever_they_are_seen(run: NetworkRun) -> None:
    told = {"event": "block.committed", "height": 2, "value_id": "ab" * 32}
    run.events.append(("peer3", told))  # A liar may say what it likes.
    assert failed(run) == set()
    run.events[-1] = ("peer1", told)
    assert failed(run) == {"no fork"}
    run.events.pop()
    run.exit_codes["peer0"] = 7
    assert failed(run) == {"no fork", "the network finished"}


def test_two_disks_that_disagree_are_a_fork() -> None:
    run = fabricated(Path("nowhere"))
    chains = {"peer0": ("aa", "bb"), "peer1": ("aa", "cc")}
    assert not checks.has_no_fork(run, chains).is_held
    assert "forks at [2]" in checks.has_no_fork(run, chains).detail
    assert not checks.is_identical(chains).is_held
    assert checks.has_no_fork(run, chains | {"peer1": ("aa",)}).is_held
    assert not checks.is_identical({}).is_held


@pytest.mark.parametrize("column", ["header", "body", "certificate"])
def test_a_damaged_block_fails_the_checks_that_read_it_and_no_exception_hides_the_others(
    column: str, run: NetworkRun
) -> None:
    sql(run, "peer1", f"UPDATE blocks SET {column} = x'00' WHERE height = 3")
    found = failed(run)
    assert {"every signature verified", "every block is signed by more than 2/3 of the stake"} <= found
    assert "the liars were active" not in found
    run.home("peer1").chain_db.write_bytes(b"no database at all")
    assert "every signature verified" in failed(run)


def test_a_flipped_bit_in_a_blob_is_named(run: NetworkRun) -> None:
    blob = next(run.home("peer2").blobs.glob("sha256/*/*"))
    blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
    assert failed(run) == {"every signature verified"}
    verdict = {check.name: check for check in judge(run, tiny_chain.genesis(), HEIGHTS)}
    assert "peer2: " in verdict["every signature verified"].detail
    assert blob.name in verdict["every signature verified"].detail


def test_nothing_verified_is_not_everything_verified() -> None:
    assert not checks.is_verified({}).is_held
    assert not checks.is_verified({"peer0": AuditReport(heights=1, signatures=0)}).is_held
    assert checks.is_verified({"peer0": AuditReport(heights=1, signatures=3)}).is_held
    damaged = AuditReport(signatures=3, problems=[Problem("seal", "blocks 1", "a", "b")])
    found = checks.is_verified({"peer0": AuditReport(signatures=3), "peer1": damaged})
    assert found == Check(
        "every signature verified", is_held=False, detail="peer1: blocks 1: seal: expected a, found b"
    )


def test_exactly_two_thirds_are_not_more() -> None:
    assert checks.is_above_two_thirds([(3, 4), (67, 100)]).is_held
    found = checks.is_above_two_thirds([(3, 4), (2, 3), (67, 100)])
    assert (found.is_held, found.detail) == (False, "the least was 2 of 3")
    assert not checks.is_above_two_thirds([]).is_held


def test_a_liar_that_never_lied_proves_nothing(run: NetworkRun) -> None:
    run.events = [(name, event) for name, event in run.events if event["event"] != "adversary.acted"]
    assert failed(run) == {"the liars were active"}
    run.events.append(("peer0", {"event": "adversary.acted"}))  # Somebody else's act does not count …
    run.events.append(("peer3", {"event": "height.started", "height": 1}))  # … nor what an honest peer does.
    assert failed(run) == {"the liars were active"}
    run.events.append(("peer3", {"event": "adversary.acted"}))
    assert failed(run) == set()


def test_the_power_behind_each_block_is_read_from_the_disk(run: NetworkRun) -> None:
    assert list(checks.signed_powers(run, "peer0")) == [(4000, 4000)] * HEIGHTS
    sql(run, "peer0", f"DELETE FROM ledgers WHERE height = {HEIGHTS}")
    assert list(checks.signed_powers(run, "peer0")) == [checks.UNREADABLE] * HEIGHTS
