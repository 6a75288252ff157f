"""Going back deletes what is above, keeps what was signed, and leaves a store that holds and grows again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_chain import found, genesis, keep, steps

from p2pfed.consensus.signer import initial_record
from p2pfed.errors import LocalError
from p2pfed.independent import verify
from p2pfed.primitives import codec
from p2pfed.storage import retention
from p2pfed.storage.audit import audit
from p2pfed.storage.home import Home
from p2pfed.storage.inspection import inspect
from p2pfed.storage.rollback import held_states, plan_rollback, roll_back
from p2pfed.storage.schema import LEDGERS
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile

TIP = 13


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of thirteen heights, of which 4, 8 and 12 are snapshots and 6 to 13 are recent."""
    monkeypatch.setattr(retention, "SNAPSHOT_INTERVAL", 4)
    made = Home(tmp_path / "home")
    store = found(made)
    for step in steps(TIP):
        keep(store, step)
    store.close()
    VoteStateFile(made.vote_state).save(codec.encode(initial_record()))
    return made


def rolled_back(home: Home, height: int) -> Store:
    store = Store(home, genesis())
    roll_back(store, plan_rollback(store, height))
    return store


@pytest.mark.parametrize("height", [4, 8, 12])
def test_after_going_back_the_store_holds_and_grows_again(home: Home, height: int) -> None:
    before = VoteStateFile(home.vote_state).load()
    store = rolled_back(home, height)
    assert store.chain.height == height
    assert store.load_model(height) is not None
    report = audit(home, genesis())
    assert (report.problems, report.heights) == ([], height)
    assert VoteStateFile(home.vote_state).load() == before
    for step in steps(TIP + 2)[height:]:
        keep(store, step)
    store.close()
    assert audit(home, genesis()).problems == []


def test_a_lost_ledger_is_still_found_after_going_back(home: Home) -> None:
    store = rolled_back(home, 12)
    with store.chain._database.transaction("block"):
        store.chain._database.delete(LEDGERS, "height = 11")
    store.close()
    assert [problem.what for problem in audit(home, genesis()).problems] == ["a ledger is missing"]


def test_what_goes_is_told_before_it_does(home: Home) -> None:
    store = Store(home, genesis())
    plan = plan_rollback(store, 8)
    present = set(store.blobs.roots())
    assert (plan.tip, plan.blocks, plan.signed_height) == (TIP, 5, 0)
    roll_back(store, plan)
    gone = present - set(store.blobs.roots())
    assert len(gone) == plan.blobs > 0
    store.close()


def test_only_a_height_whose_state_is_whole_can_be_gone_back_to(home: Home) -> None:
    store = Store(home, genesis())
    assert held_states(store.chain) == (4, *range(6, TIP + 1))
    with pytest.raises(LocalError, match=r"5 is not held whole.* back to: 4, 6, 7, 8, 9, 10, 11, 12$"):
        plan_rollback(store, 5)
    with pytest.raises(LocalError, match=f"newest block is {TIP}"):
        plan_rollback(store, TIP)
    home.vote_state.unlink()
    with pytest.raises(LocalError, match="given twice"):
        plan_rollback(store, 8)
    assert store.chain.height == TIP
    store.close()


def test_the_second_verifier_holds_what_is_left(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "keeps_model", retention.keeps_model)
    rolled_back(home, 8).close()
    assert verify.verify(home.path).problems == []


def test_inspect_tells_what_is_held_and_changes_nothing(home: Home) -> None:
    files = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    seen = inspect(home)
    header = steps(TIP)[-1].block.header
    assert (seen.problem, seen.problems) == ("", 0)
    assert (seen.tip, seen.blocks, seen.base) == (TIP, TIP, 0)
    assert (seen.value_id, seen.model_root) == (header.value_id.hex(), header.model_root.hex())
    assert seen.state_root == header.state_root.hex()
    assert (seen.states, seen.snapshots) == ([4, *range(6, TIP + 1)], [4, 8, 12])
    assert seen.payloads == [height for height in range(TIP - 7, TIP + 1) if height != 4]
    assert seen.record == (0, -1, 0)
    assert {path: path.read_bytes() for path in files} == files


def test_inspect_names_the_first_thing_that_is_wrong(home: Home) -> None:
    root = steps(8)[-1].block.header.model_root
    (home.blobs / "sha256" / root.hex()[:2] / root.hex()).unlink()
    seen = inspect(home)
    assert seen.problem.startswith("blobs 8, model: the blob is missing, not pruned")
    assert 8 not in seen.states
    data = bytearray(home.chain_db.read_bytes())
    at = data.find(steps(9)[-1].block.header.state_root)
    assert at > 0
    data[at] ^= 1
    home.chain_db.write_bytes(data)
    assert inspect(home).problems > 1
    home.genesis.unlink()
    assert "genesis.json" in inspect(home).problem
    home.chain_db.unlink()
    assert inspect(home).problems >= 2
