"""Blobs are named by their content, served by chunk, and never trusted unread."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from p2pfed.errors import BadChunk, DiskFull, StorageFault
from p2pfed.primitives.merkle import CHUNK_BYTES, EMPTY_ROOT, chunk_hash, chunk_root, has_chunk
from p2pfed.storage import blob_store
from p2pfed.storage.blob_store import BlobStore, chunk_of_bytes

LARGE = Random(7).randbytes(2 * CHUNK_BYTES + 5)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path)
    store.open()
    return store


@pytest.mark.parametrize("data", [b"", b"x", LARGE[:CHUNK_BYTES], LARGE[: CHUNK_BYTES + 1], LARGE])
def test_a_blob_comes_back_under_its_chunk_root(data: bytes, store: BlobStore) -> None:
    root = store.put(data)
    assert root == chunk_root(data) == store.put(data)
    assert (store.has(root), store.size(root), store.load(root)) == (True, len(data), data)
    assert store.roots() == (root,)
    assert store.path(root).stat().st_mode & 0o777 == 0o600


def test_a_name_is_synced_once_in_a_process(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path | str] = []
    monkeypatch.setattr(blob_store, "sync_folder", synced.append)
    root = store.put(b"x")
    store.put(b"x")
    assert list(map(str, synced)) == [str(store.path(root).parent)]
    again = BlobStore(tmp_path)  # It may be from before a crash.
    again.put(b"x")
    again.put(b"x")
    assert len(synced) == 2
    store.height = 5
    assert store.delete_unused(root, 5)
    store.put(b"x")
    assert len(synced) == 3


def test_what_is_not_here_is_none(store: BlobStore) -> None:
    assert (store.size(EMPTY_ROOT), store.load(EMPTY_ROOT), store.chunk(EMPTY_ROOT, 0)) == (None, None, None)
    assert not store.has(EMPTY_ROOT)
    root = store.put(b"x")
    assert store.chunk(root, 1) is None
    assert store.chunk(root, -1) is None


@pytest.mark.parametrize("is_cached", [False, True])
def test_each_chunk_is_served_with_a_path_that_a_stranger_can_check(
    is_cached: bool, store: BlobStore
) -> None:
    root = store.put(LARGE)
    for index in range(3):
        if is_cached:
            store.chunk(root, index)
        served = store.chunk(root, index)
        assert served is not None
        assert served == chunk_of_bytes(LARGE, index)
        assert has_chunk(root, served.data, index, served.count, served.path)
    assert chunk_of_bytes(LARGE, 3) is None


def test_a_large_blob_is_read_whole_only_once(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    root = store.put(LARGE)
    hashed: list[int] = []
    real = blob_store.chunk_hash
    monkeypatch.setattr(blob_store, "chunk_hash", lambda data: hashed.append(len(data)) or real(data))
    for _ in range(4):
        store.chunk(root, 2)
    assert hashed == [5, 5, 5, 5]  # The hashes of its chunks are known since it was put.
    again = BlobStore(store.folder)
    hashed.clear()
    for _ in range(4):
        again.chunk(root, 2)
    assert hashed == [CHUNK_BYTES, CHUNK_BYTES, 5, 5, 5, 5, 5]


def test_cached_hashes_are_bounded(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_store, "HASHES_CACHED_MAX", 4)
    roots = [store.put(b"%d" % number) for number in range(9)]
    for root in roots:
        store.chunk(root, 0)
    assert list(store._levels) == roots[-4:]
    store.chunk(roots[5], 0)
    store.chunk(roots[0], 0)
    assert list(store._levels) == [roots[7], roots[8], roots[5], roots[0]]
    assert store._hashes_count == 4


def test_every_flipped_byte_of_a_small_blob_is_found(store: BlobStore) -> None:
    data = bytes(range(64))
    root = store.put(data)
    assert store.chunk(root, 0) is not None  # The hashes are cached; the bytes must be checked all the same.
    for place in range(len(data)):
        store.path(root).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for read in (
            lambda: store.load(root),
            lambda: store.chunk(root, 0),
            lambda: BlobStore(store.folder).chunk(root, 0),
        ):
            with pytest.raises(StorageFault, match="damaged"):
                read()


def test_chunks_arrive_in_any_order_and_twice(store: BlobStore) -> None:
    root = chunk_root(LARGE)
    assembly = store.assemble(root, len(LARGE))
    for index, missing in ((2, (0, 1)), (0, (1,)), (0, (1,)), (1, ())):
        served = chunk_of_bytes(LARGE, index)
        assert served is not None
        assert not store.has(root)
        assembly.add(index, served.count, served.data, served.path)
        assert assembly.missing == missing
    assembly.finish()
    assert store.load(root) == LARGE
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_chunk_that_does_not_belong_is_its_senders_fault(store: BlobStore) -> None:
    root = chunk_root(LARGE)
    assembly = store.assemble(root, len(LARGE))
    good = chunk_of_bytes(LARGE, 1)
    assert good is not None
    flipped = bytes([good.data[0] ^ 1]) + good.data[1:]
    for index, count, data, path in (
        (1, 3, flipped, good.path),
        (0, 3, good.data, good.path),
        (1, 2, good.data, good.path),
        (3, 3, good.data, good.path),
        (-1, 3, good.data, good.path),
        (1, 3, good.data[:-1], good.path),
        (1, 3, good.data, good.path[:-1]),
        (1, 3, good.data, (*good.path, good.path[0])),
    ):
        with pytest.raises(BadChunk):
            assembly.add(index, count, data, path)
    assert assembly.missing == (0, 1, 2)
    with pytest.raises(AssertionError):
        assembly.finish()
    assembly.abandon()


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_blob_is_as_long_as_was_announced(wrong: int, store: BlobStore) -> None:
    assembly = store.assemble(chunk_root(b"five5"), 5 + wrong)
    with pytest.raises(BadChunk, match=f"has 5 bytes and not {5 + wrong}"):
        assembly.add(0, 1, b"five5", ())


def test_no_bytes_have_no_root_but_the_empty_one(store: BlobStore) -> None:
    with pytest.raises(BadChunk):
        store.assemble(chunk_root(b"x"), 0).finish()
    store.assemble(EMPTY_ROOT, 0).finish()
    assert store.roots() == (EMPTY_ROOT,)


def test_what_a_crash_left_unfinished_is_swept_at_the_start(store: BlobStore) -> None:
    assembly = store.assemble(chunk_root(b"x"), 1)
    assembly.add(0, 1, b"x", ())
    assert len(list((store.folder / "tmp").iterdir())) == 2
    store.open()
    assert list((store.folder / "tmp").iterdir()) == []
    assembly.abandon()


def test_an_assembly_goes_on_where_a_killed_peer_was(store: BlobStore) -> None:
    root = chunk_root(LARGE)
    first = store.assemble(root, len(LARGE))
    for index in (0, 2):
        served = chunk_of_bytes(LARGE, index)
        assert served is not None
        first.add(index, served.count, served.data, served.path)
    first.close()
    store.open(unfinished=(root,))
    second = store.assemble(root, len(LARGE))
    assert second.missing == (1,)
    served = chunk_of_bytes(LARGE, 1)
    assert served is not None
    second.add(1, served.count, served.data, served.path)
    second.finish()
    assert store.load(root) == LARGE
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_chunk_that_a_crash_tore_is_asked_for_again(store: BlobStore) -> None:
    root = chunk_root(LARGE)
    first = store.assemble(root, len(LARGE))
    for index in (0, 1):
        served = chunk_of_bytes(LARGE, index)
        assert served is not None
        first.add(index, served.count, served.data, served.path)
    first.close()
    path = store.folder / "tmp" / root.hex()
    with path.open("r+b") as file:
        file.seek(5)
        file.write(b"?????")
    with path.with_name(f"{root.hex()}.chunks").open("ab") as journal:
        journal.write(b"torn")
    assert store.assemble(root, len(LARGE)).missing == (0, 2)


def test_a_journal_that_lies_does_not_make_another_blob(store: BlobStore) -> None:
    root = chunk_root(LARGE)
    store.assemble(root, len(LARGE)).close()
    path = store.folder / "tmp" / root.hex()
    path.write_bytes(bytes(len(LARGE)))
    chunks = [bytes(len(LARGE))[start : start + CHUNK_BYTES] for start in range(0, len(LARGE), CHUNK_BYTES)]
    entries = [index.to_bytes(4, "big") + chunk_hash(chunk) for index, chunk in enumerate(chunks)]
    path.with_name(f"{root.hex()}.chunks").write_bytes(b"".join(entries))
    assembly = store.assemble(root, len(LARGE))
    assert assembly.missing == ()
    with pytest.raises(StorageFault, match="fetch it anew"):
        assembly.finish()
    assert store.roots() == ()
    assert not path.exists()


def test_a_full_disk_leaves_no_half_blob(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = store.put(b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFull):
            store.put(b"new")
        with pytest.raises(DiskFull):
            store.assemble(chunk_root(b"new"), 3).add(0, 1, b"new", ())
    assert store.roots() == (kept,)


def test_a_blob_in_use_is_not_deleted(store: BlobStore) -> None:
    root = store.put(b"x")
    store.height = 10
    assert store.has(root)
    assert not store.delete_unused(root, 10)
    assert store.delete_unused(root, 11)
    assert store.roots() == ()
    root = store.put(b"x")
    fresh = BlobStore(store.folder)
    fresh.height = 12
    assert not fresh.delete_unused(root, 12)  # Seen for the first time: as if used now.
    assert fresh.delete_unused(root, 13)


def test_files_that_are_no_blobs_are_passed_over(store: BlobStore) -> None:
    root = store.put(b"x")
    (store.path(root).parent / "notes.txt").write_text("mine")
    other = "00" if root.hex()[:2] != "00" else "01"
    (store.folder / "sha256" / other / root.hex()).write_bytes(b"x")
    assert store.roots() == (root,)
