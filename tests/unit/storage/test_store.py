"""Blocks, what hangs on them, and what retention leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import tiny_chain

from p2pfed.chain.state import decode_ledger, encode_ledger, restore
from p2pfed.errors import DiskFull, LocalError, StorageFault
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.storage import store as store_module
from p2pfed.storage.audit import audit
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store, bytes_of_two_blocks

STEPS = tiny_chain.steps(41)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = tiny_chain.found(home)
    yield store
    store.close()


def kept_after(store: Store, heights: int) -> None:
    for step in STEPS[store.chain.height : heights]:
        tiny_chain.keep(store, step)


def test_blocks_come_back_after_a_restart(store: Store, home: Home) -> None:
    kept_after(store, 5)
    again = Store(home, tiny_chain.genesis())
    assert again.chain.height == 5
    for step in STEPS[:5]:
        height, value_id = step.block.header.height, step.block.header.value_id
        assert again.chain.block(height) == step.block
        assert again.chain.header(height) == step.block.header
        assert again.chain.height_of(value_id) == height
        assert again.chain.polkas(height) == (step.polka,)
        assert again.chain.ledger(height) == encode_ledger(step.state.ledger)
    assert (again.chain.block(6), again.chain.header(6), again.chain.ledger(6)) == (None, None, None)
    assert again.chain.height_of(bytes(32)) is None
    again.close()


def test_a_peer_goes_on_from_what_was_stored(store: Store) -> None:
    kept_after(store, 6)
    header, ledger = store.chain.header(6), store.chain.ledger(6)
    assert header is not None
    assert ledger is not None
    state = restore(tiny_chain.genesis(), header, ledger, store.load_model(6))
    assert tiny_chain.next_step(state, STEPS[5].block).block == STEPS[6].block


def test_ranges_of_blocks_are_cut_by_count_and_bytes_but_never_empty(store: Store) -> None:
    kept_after(store, 6)
    blocks = tuple(step.block for step in STEPS)
    assert store.chain.blocks(2, 3, 1 << 20) == blocks[1:4]
    assert store.chain.blocks(5, 9, 1 << 20) == blocks[4:6]
    assert store.chain.blocks(7, 9, 1 << 20) == ()
    assert store.chain.blocks(1, 9, 0) == blocks[:1]
    two = sum(
        len(codec.encode(part)) for block in blocks[:2] for part in (block.header, block.body, block.commit)
    )
    assert store.chain.blocks(1, 9, two) == blocks[:2]
    assert store.chain.blocks(1, 9, two - 1) == blocks[:1]


def test_a_value_is_pending_until_its_height_is_decided(store: Store) -> None:
    block = STEPS[0].block
    store.chain.save_pending(block.header, block.body)
    store.chain.save_pending(block.header, block.body)
    assert store.chain.pending() == ((block.header, block.body),)
    assert store.chain.body_bytes(block.header.body_hash) == codec.encode(block.body)
    tiny_chain.keep(store, STEPS[0])
    assert store.chain.pending() == ()
    assert store.chain.body_bytes(block.header.body_hash) == codec.encode(block.body)
    assert store.chain.body_bytes(bytes(32)) is None


def test_only_the_next_block_on_top_of_the_last_can_be_stored(store: Store) -> None:
    kept_after(store, 2)
    for step in (STEPS[1], STEPS[3]):
        with pytest.raises(AssertionError):
            tiny_chain.keep(store, step)
    assert store.chain.height == 2


def test_retention_keeps_what_it_promises_and_says_what_it_removed(store: Store, home: Home) -> None:
    kept_after(store, 41)
    for step in STEPS:
        height, header = step.block.header.height, step.block.header
        is_recent = height > 41 - 8
        for payload in step.payloads:
            root = chunk_root(payload)
            assert store.chain.blob_status(height, "payload", root) == ("held" if is_recent else "pruned")
            assert (store.blobs.load(root) is not None) == is_recent
        is_kept = is_recent or height == 32
        model = store.load_model(height)
        assert (model is not None) == is_kept
        assert store.chain.blob_status(height, "model", header.model_root) == (
            "held" if is_kept else "pruned"
        )
        assert (store.chain.ledger(height) is not None) == is_kept
        if model is not None and step.state.model is not None:
            assert np.array_equal(model.weights, step.state.model.weights)
            assert model.root == header.model_root
            assert model.exponents_root == header.exponents_root
    genesis_model = store.load_model(0)
    assert genesis_model is not None
    assert genesis_model.root == tiny_chain.genesis().model_root
    assert audit(home, tiny_chain.genesis()).problems == []


def test_files_go_after_the_block_and_its_polkas_come_with_it(store: Store) -> None:
    kept_after(store, 8)
    step, old = STEPS[8], chunk_root(STEPS[0].payloads[0])
    rival = msgspec.structs.replace(step.polka, round=7)
    store.chain.save_polka(step.polka)
    ledger = encode_ledger(step.state.ledger)
    store.save_block(step.block, ledger, step.state.model, polkas=(step.polka, rival))
    assert store.chain.polkas(9) == (step.polka, rival)
    assert store.chain.blob_status(1, "payload", old) == "pruned"
    assert store.blobs.path(old).exists()
    store.clean_up()
    assert not store.blobs.path(old).exists()


def test_a_refused_update_stays_for_a_while_and_then_goes(store: Store) -> None:
    kept_after(store, 2)
    root = store.blobs.put(b"an update that no block took")
    for heights, is_there in ((8, True), (9, True), (16, False)):
        kept_after(store, heights)
        assert store.blobs.path(root).exists() == is_there


def test_a_payload_that_comes_again_is_not_deleted_with_its_older_self(store: Store) -> None:
    kept_after(store, 8)
    old = chunk_root(STEPS[0].payloads[0])
    assert store.blobs.has(old)  # Somebody trains to the very same update at height 9.
    kept_after(store, 9)
    assert store.chain.blob_status(1, "payload", old) == "pruned"
    assert store.blobs.path(old).exists()


def test_a_model_that_was_left_out_is_absent_until_it_comes(store: Store, home: Home) -> None:
    kept_after(store, 4)
    tiny_chain.keep(store, STEPS[4], with_model=False)
    header, model = STEPS[4].block.header, STEPS[4].state.model
    assert model is not None
    assert store.load_model(5) is None
    assert store.chain.blob_status(5, "model", header.model_root) == "absent"
    assert audit(home, tiny_chain.genesis()).problems == []
    store.save_model(model)
    loaded = store.load_model(5)
    assert loaded is not None
    assert loaded.root == model.root
    assert audit(home, tiny_chain.genesis()).problems == []


def test_a_model_that_comes_too_late_to_be_kept_stays_absent(store: Store) -> None:
    tiny_chain.keep(store, STEPS[0], with_model=False)
    kept_after(store, 12)
    model = STEPS[0].state.model
    assert model is not None
    store.save_model(model)
    assert store.load_model(1) is None


def test_a_missing_model_is_not_a_pruned_one(store: Store) -> None:
    kept_after(store, 2)
    store.blobs.path(STEPS[1].block.header.model_root).unlink()
    with pytest.raises(StorageFault, match="though it was not pruned"):
        store.load_model(2)


def test_the_home_of_another_chain_is_refused(store: Store, home: Home) -> None:
    with pytest.raises(LocalError, match="belongs to this genesis") as refusal:
        BlockStore(home.chain_db, bytes(32))
    assert refusal.value.exit_code == 3
    with pytest.raises(LocalError, match="has not run yet"):
        BlockStore(home.path / "nothing.db", None)


def test_a_snapshot_reads_beside_the_writer(store: Store) -> None:
    kept_after(store, 1)
    with store.snapshot() as chain:
        assert chain.height == 1
        kept_after(store, 2)
        assert chain.height == 2


@pytest.mark.parametrize("table", ["blocks", "pending", "polkas"])
def test_a_full_database_changes_nothing(table: str, store: Store, home: Home) -> None:
    kept_after(store, 2)
    connection = store.chain._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()

    def write_much() -> None:  # Free room inside the last pages lets a few small rows in.
        for step in STEPS[2:]:
            if table == "blocks":
                store.save_block(step.block, bytes(1 << 20), step.state.model)
            elif table == "pending":
                store.chain.save_pending(step.block.header, step.block.body)
            else:
                store.chain.save_polka(step.polka)

    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull) as refusal:
        write_much()
    assert refusal.value.exit_code == 8
    connection.execute("PRAGMA max_page_count = 1000000")
    assert store.chain.height == 2
    kept_after(store, 3)
    assert store.chain.height == 3
    if table == "blocks":
        assert audit(home, tiny_chain.genesis()).problems == []


def test_a_transaction_that_fails_half_way_leaves_no_trace(store: Store, home: Home) -> None:
    kept_after(store, 2)
    step = STEPS[2]

    def broken(_root: bytes) -> bool:
        raise StorageFault("the disk is gone")

    with pytest.raises(StorageFault, match="gone"):
        store.chain.save_block(step.block, encode_ledger(step.state.ledger), broken)
    assert store.chain.height == 2
    kept_after(store, 3)
    assert audit(home, tiny_chain.genesis()).problems == []


def test_a_model_that_two_heights_share_stays_while_one_of_them_is_kept(store: Store) -> None:
    kept_after(store, 11)  # Height 4 was EMPTY: its model is that of height 3, which is no longer kept.
    assert STEPS[3].block.header.model_root == STEPS[2].block.header.model_root
    assert store.load_model(3) is None
    assert store.load_model(4) is not None


def test_sqlite_makes_every_commit_durable(store: Store) -> None:
    connection = store.chain._database._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL.


def test_a_height_needs_room_for_two_blocks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = bytes_of_two_blocks(tiny_chain.genesis())
    assert needed > 2 * (4 * 16 + 32 + 4 * (1 << 20))
    store.verify_space()
    monkeypatch.setattr(
        store_module, "verify_free_space", lambda _path, bytes_needed: pytest.fail(str(bytes_needed))
    )
    with pytest.raises(pytest.fail.Exception, match=str(needed)):
        store.verify_space()


def test_a_damaged_row_stops_the_reader(store: Store) -> None:
    kept_after(store, 2)
    store.chain._database._connection.execute("UPDATE blocks SET certificate = x'00' WHERE height = 2")
    with pytest.raises(StorageFault, match="p2pfed verify"):
        store.chain.block(2)
    assert store.chain.block(1) == STEPS[0].block


def test_the_ledger_that_was_stored_has_the_root_of_its_header(store: Store) -> None:
    kept_after(store, 3)
    ledger = store.chain.ledger(3)
    assert ledger is not None
    assert decode_ledger(ledger).root == STEPS[2].block.header.state_root


def test_a_reader_that_leaves_never_takes_the_writers_lock(store: Store, home: Home) -> None:
    kept_after(store, 2)
    log = home.chain_db.with_name("chain.db-wal")
    # All is merged now: SQLite would cut the log short even for a reader, and wait for others first.
    store.chain._database._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    before = log.stat().st_size
    assert before > 0
    BlockStore(home.chain_db, None).close()
    Store(home, tiny_chain.genesis(), read_only=True).close()
    assert log.stat().st_size == before


def test_whoever_only_reads_leaves_a_running_peers_unfinished_files_alone(store: Store, home: Home) -> None:
    kept_after(store, 2)
    unfinished = home.blobs / "tmp" / "1-1"
    unfinished.write_bytes(b"half a blob")
    reader = Store(home, tiny_chain.genesis(), read_only=True)
    assert reader.chain.block(2) == STEPS[1].block
    assert reader.load_model(2) is not None
    kept_after(store, 3)
    assert reader.chain.height == 3
    reader.close()
    assert unfinished.exists()
    Store(home, tiny_chain.genesis()).close()
    assert not unfinished.exists()


def test_reading_the_chain_of_another_genesis_or_of_nobody_is_refused(store: Store, home: Home) -> None:
    other = msgspec.structs.replace(tiny_chain.genesis(), name="another")
    with pytest.raises(LocalError, match="use the home that belongs to this genesis"):
        Store(home, other, read_only=True)
    empty = Home(home.path / "nobody")
    with pytest.raises(LocalError, match="there is no chain"):
        Store(empty, other, read_only=True)
    assert not empty.path.exists()


def test_a_model_that_is_pruned_while_it_is_read_is_no_damage(
    store: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_after(store, 3)
    reader = Store(home, tiny_chain.genesis(), read_only=True)

    def prune_first(root: bytes) -> bytes | None:
        with store.chain._database.transaction("held"):
            store.chain._set_status((3, "model", root, "held"), "pruned")
        return None

    monkeypatch.setattr(reader.blobs, "load", lambda root: prune_first(root) if root == model_root else None)
    model_root = STEPS[2].block.header.model_root
    assert reader.load_model(3) is None
    reader.close()
