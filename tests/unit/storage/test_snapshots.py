"""A store offers what it keeps anyway, and one that begins with a snapshot goes on like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_chain import found, genesis, initial_model, keep, steps

from p2pfed.chain.genesis import dump_genesis
from p2pfed.chain.snapshot import state_after, verify_parts
from p2pfed.independent import verify
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.storage import retention
from p2pfed.storage.audit import audit
from p2pfed.storage.database import Database
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.schema import META
from p2pfed.storage.snapshots import Snapshots
from p2pfed.storage.store import Store
from p2pfed.types.snapshot import BODY, EXPONENTS, LEDGER, MODEL, PARTS, Snapshot
from p2pfed.types.wire import RESPONSE_BYTES_MAX

S = 4  # The EMPTY height of the tiny chain is one too.


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SNAPSHOT_INTERVAL", S)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    store = found(Home(tmp_path / "full"))
    yield store
    store.close()


def grown(store: Store, heights: int) -> Snapshots:
    for step in steps(heights)[store.chain.height :]:
        keep(store, step)
    return Snapshots(store.chain, genesis())


def begun(home: Home, full: Store, snapshot: Snapshot) -> Store:
    """Return an empty store that begins with `snapshot`, its parts copied."""
    home.create()
    store = Store(home, genesis())
    for part in snapshot.parts:
        if part.kind in (MODEL, EXPONENTS):
            data = full.blobs.load(part.root)
            assert data is not None
            store.blobs.put(data)
    block, ledger = full.chain.block(snapshot.height), full.chain.ledger(snapshot.height)
    assert block is not None
    assert ledger is not None
    store.save_base(block, ledger)
    return store


def test_the_newest_snapshot_is_offered_and_older_ones_by_height(full: Store) -> None:
    assert grown(full, S - 1).manifest(0) is None
    snapshots = grown(full, 2 * S + 1)
    newest, older = snapshots.manifest(0), snapshots.manifest(S)
    assert newest is not None
    assert older is not None
    assert (newest.height, older.height) == (2 * S, S)
    assert snapshots.manifest(S + 1) is None
    assert snapshots.manifest(3 * S) is None
    assert codec.decode(codec.encode(newest), Snapshot, RESPONSE_BYTES_MAX) == newest


def test_a_manifest_names_the_parts_of_the_state_by_their_roots(full: Store) -> None:
    snapshot = grown(full, S).manifest(0)
    assert snapshot is not None
    state = steps(S)[-1].state
    verify_parts(snapshot, genesis())
    assert tuple(part.kind for part in snapshot.parts) == PARTS
    assert state.model is not None
    weights, exponents = state.model.weights_bytes(), state.model.exponents_bytes()
    body = codec.encode(steps(S)[-1].block.body)
    for kind, data in ((MODEL, weights), (EXPONENTS, exponents), (BODY, body)):
        assert (snapshot.part(kind).length, snapshot.part(kind).root) == (len(data), chunk_root(data))
    assert snapshot.block.validators == state.last_validators
    assert snapshot.block.next_validators == state.validators


def test_the_ledger_is_served_by_chunk_and_makes_the_state(full: Store) -> None:
    snapshots = grown(full, S)
    snapshot = snapshots.manifest(0)
    assert snapshot is not None
    part = snapshot.part(LEDGER)
    chunk = snapshots.ledger_chunk(part.root, 0)
    assert chunk is not None
    assert (len(chunk.data), chunk.count) == (part.length, 1)
    assert state_after(snapshot, genesis(), chunk.data).ledger == steps(S)[-1].state.ledger
    assert snapshots.ledger_chunk(part.root, 1) is None
    assert snapshots.ledger_chunk(bytes(32), 0) is None


def test_a_height_whose_model_is_not_here_is_not_offered(full: Store) -> None:
    for step in steps(2 * S):
        keep(full, step, with_model=step.block.header.height != 2 * S)
    offered = Snapshots(full.chain, genesis()).manifest(0)
    assert offered is not None
    assert offered.height == S


def test_no_more_snapshots_are_offered_than_retention_keeps(full: Store) -> None:
    snapshots = grown(full, (retention.SNAPSHOTS_KEPT + 2) * S)
    offered = [height for height in range(1, full.chain.height + 1) if snapshots.manifest(height)]
    assert offered == [place * S for place in range(3, retention.SNAPSHOTS_KEPT + 3)]
    assert len(snapshots._manifests) <= retention.SNAPSHOTS_KEPT


def test_a_store_begins_with_a_snapshot_and_goes_on(full: Store, tmp_path: Path) -> None:
    snapshot = grown(full, 2 * S + 2).manifest(0)
    assert snapshot is not None
    store = begun(Home(tmp_path / "late"), full, snapshot)
    try:
        assert (store.chain.base, store.chain.height) == (2 * S, 2 * S)
        assert store.load_model(0) is None
        assert store.load_model(2 * S) is not None
        assert store.chain.blob_status(0, "model", initial_model().root) == "absent"
        for step in steps(7 * S)[2 * S :]:
            keep(store, step)
        assert store.chain.ledger(2 * S) is not None  # For ever: replays begin with it.
        assert store.chain.ledger(3 * S) is None
    finally:
        store.close()


def test_both_verifiers_hold_a_store_that_began_with_a_snapshot(full: Store, tmp_path: Path) -> None:
    snapshot = grown(full, S).manifest(0)
    assert snapshot is not None
    home = Home(tmp_path / "late")
    store = begun(home, full, snapshot)
    for step in steps(2 * S)[S:]:
        keep(store, step)
    store.close()
    replace_file(home.genesis, dump_genesis(genesis()).encode())
    report = audit(home, genesis())
    assert (report.problems, report.base, report.heights) == ([], S, S + 1)
    second = verify.verify(home.path)
    assert (second.problems, second.heights) == ([], S + 1)
    # A base that is not what its row says, by hand, with all seals made to fit.
    chain = Database(home.chain_db)
    with chain.transaction("meta"):
        chain.delete(META, "name = ?", ("base",))
        chain.insert(META, ("base", (S + 1).to_bytes(8, "big")))
    chain.close()
    assert audit(home, genesis()).problems
    assert verify.verify(home.path).problems


def test_what_is_being_fetched_is_remembered_until_it_is_here(full: Store, tmp_path: Path) -> None:
    snapshot = grown(full, S).manifest(0)
    home = Home(tmp_path / "late")
    home.create()
    store = Store(home, genesis())
    assert store.wanted_snapshot is None
    store.want_snapshot(snapshot)
    assert snapshot is not None
    part = snapshot.part(MODEL)
    store.blobs.assemble(part.root, part.length).close()
    store.close()
    again = Store(home, genesis())
    assert again.wanted_snapshot == snapshot
    assert (home.blobs / "tmp" / part.root.hex()).exists()
    again.want_snapshot(None)
    again.close()
    Store(home, genesis()).close()
    assert list((home.blobs / "tmp").iterdir()) == []
