"""The write-ahead log on disk: what comes back, what a crash may cost, what is refused and what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pfed.consensus.io import CollectEnded, TimeoutFired
from p2pfed.consensus.journal import Began, Ended, Entry
from p2pfed.errors import LocalError, StorageFault
from p2pfed.primitives.digest import sha256
from p2pfed.storage import log as log_module
from p2pfed.storage.frames import encode_frame, frame_at, read_frames
from p2pfed.storage.log import Log, repair, survey
from p2pfed.storage.log_files import FolderFiles

CHAIN = sha256(b"a chain")


def height_of(height: int) -> list[Entry]:
    waits = [TimeoutFired("precommit", round_) for round_ in range(3)]
    return [Began(height, 1, None), CollectEnded(), *waits, Ended(height)]


def write(folder: Path, heights: range, rotate_bytes: int = log_module.ROTATE_BYTES) -> list[Entry]:
    """Write whole heights as a peer does: each is synced twice."""
    files = FolderFiles(folder)
    log = Log(files, CHAIN, rotate_bytes)
    log.open()
    for height in heights:
        entries = height_of(height)
        for entry in entries[:2]:
            log.append(entry)
        log.sync()
        for entry in entries[2:]:
            log.append(entry)
        log.sync()
    files.close()
    return [entry for height in heights for entry in height_of(height)]


def entries_in(folder: Path) -> list[Entry]:
    files = FolderFiles(folder)
    newest, _ = Log(files, CHAIN).open()
    files.close()
    entries = [entry for _, entry in survey(files, CHAIN).entries()]
    assert list(newest) == entries[-len(newest) :]
    return entries


def test_what_was_synced_comes_back_in_order_and_can_be_added_to(tmp_path: Path) -> None:
    told = write(tmp_path, range(1, 4))
    assert entries_in(tmp_path) == told
    told += write(tmp_path, range(4, 6))
    assert entries_in(tmp_path) == told


def test_a_start_is_told_the_newest_engine_and_the_height_that_ended_before_it(tmp_path: Path) -> None:
    told = write(tmp_path, range(1, 4))
    newest, _ = Log(FolderFiles(tmp_path), CHAIN).open()
    assert list(newest) == [Ended(2), *told[-6:]]


def test_what_was_not_synced_may_be_gone_and_nothing_else(tmp_path: Path) -> None:
    told = write(tmp_path, range(1, 2))
    log = Log(FolderFiles(tmp_path), CHAIN)
    log.open()
    log.append(Began(2, 1, None))
    assert entries_in(tmp_path) == told
    log.flush()
    assert entries_in(tmp_path) == [*told, Began(2, 1, None)]


def test_a_sync_with_nothing_new_touches_no_disk(tmp_path: Path) -> None:
    log = Log(FolderFiles(tmp_path), CHAIN)
    log.open()
    log.append(CollectEnded())
    log.sync()
    before = log.syncs
    log.sync()
    assert log.syncs == before


def test_a_full_file_is_followed_by_another_and_two_heights_stay(tmp_path: Path) -> None:
    write(tmp_path, range(1, 12), rotate_bytes=150)
    names = FolderFiles(tmp_path).names()
    assert names[0] > "00000001.log"
    heights = [entry.height for entry in entries_in(tmp_path) if isinstance(entry, Began)]
    assert heights[-3:] == [9, 10, 11]
    assert len(heights) <= 5
    assert entries_in(tmp_path)[-6:] == height_of(11)


@pytest.mark.parametrize("lost", [1, 5, 12, 40])
def test_a_torn_tail_is_cut_and_its_size_is_told(tmp_path: Path, lost: int) -> None:
    told = write(tmp_path, range(1, 3))
    path = tmp_path / "00000001.log"
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    frames, end = read_frames(data[:-lost])
    _, torn = Log(FolderFiles(tmp_path), CHAIN).open()
    entries = entries_in(tmp_path)
    assert entries == told[: len(entries)]
    assert torn == len(data) - lost - end
    assert path.stat().st_size == end
    assert frames[-1].end == end


def test_a_hole_in_what_was_never_synced_is_a_torn_tail(tmp_path: Path) -> None:
    """A disk may write the end of a batch and lose its beginning."""
    told = write(tmp_path, range(1, 3))
    files = FolderFiles(tmp_path)
    log = Log(files, CHAIN)
    log.open()
    size = (tmp_path / "00000001.log").stat().st_size
    for entry in height_of(3):
        log.append(entry)
    log.flush()
    files.close()
    path = tmp_path / "00000001.log"
    data = bytearray(path.read_bytes())
    data[size : size + 20] = bytes(20)
    path.write_bytes(data)
    assert entries_in(tmp_path) == told


def test_a_flip_anywhere_before_the_last_batch_is_refused_with_the_remedy_and_repair_cuts_there(
    tmp_path: Path,
) -> None:
    told = write(tmp_path, range(1, 4))
    path = tmp_path / "00000001.log"
    whole = path.read_bytes()
    frames, _ = read_frames(whole)
    last_mark = [frame for frame in frames if frame.kind == "synced"][-1]
    promised = frames[
        [frame.seq for frame in frames].index(last_mark.seq) - 1
    ].start  # Before the last batch …
    for at in range(frames[0].end, promised, 7):  # … a flip is damage, wherever it is.
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StorageFault, match=rf"damaged at byte \d+ of {len(whole)}.*run `p2pfed repair`"):
            Log(FolderFiles(tmp_path), CHAIN).open()
    broken = next(frame for frame in frames if frame.start <= at < frame.end)
    lost, gone = repair(FolderFiles(tmp_path), CHAIN)
    assert gone == len(whole) - broken.start
    assert lost == len(frames) - frames.index(broken) - 1
    entries = entries_in(tmp_path)
    assert entries == told[: len(entries)]
    assert repair(FolderFiles(tmp_path), CHAIN) == (0, 0)


def test_a_damaged_file_before_the_last_one_is_refused_whatever_it_lacks(tmp_path: Path) -> None:
    write(tmp_path, range(1, 12), rotate_bytes=150)
    names = FolderFiles(tmp_path).names()
    path = tmp_path / names[1]
    path.write_bytes(path.read_bytes()[:-1])
    assert names[1] in survey(FolderFiles(tmp_path), CHAIN).damage
    path.unlink()
    assert names[2] in survey(FolderFiles(tmp_path), CHAIN).damage  # It does not follow the one before it.
    repair(FolderFiles(tmp_path), CHAIN)
    assert FolderFiles(tmp_path).names() == names[:1]


def test_the_log_of_another_chain_is_refused_with_both_ids(tmp_path: Path) -> None:
    write(tmp_path, range(1, 2))
    other = sha256(b"another chain")
    with pytest.raises(LocalError, match=f"{CHAIN.hex()}, genesis.json founds {other.hex()}") as caught:
        Log(FolderFiles(tmp_path), other).open()
    assert caught.value.exit_code == 3


def test_to_forget_the_log_leaves_nothing_of_it(tmp_path: Path) -> None:
    told = write(tmp_path, range(1, 4))
    (tmp_path / "00000002.log").write_bytes(b"whatever")
    lost, _ = repair(FolderFiles(tmp_path), CHAIN, forget=True)
    assert lost == len(told)
    assert entries_in(tmp_path) == []


def test_a_file_whose_opening_never_became_durable_is_made_again(tmp_path: Path) -> None:
    told = write(tmp_path, range(1, 2))
    (tmp_path / "00000002.log").write_bytes(b"")
    assert entries_in(tmp_path) == told
    assert FolderFiles(tmp_path).names() == ["00000001.log"]


def test_a_frame_is_the_documented_bytes() -> None:
    frame = encode_frame(7, "ended", b"\x05")
    assert frame.hex() == "eab78215" + "00000009" + "93" + "07" + "a5656e646564" + "05"
    read = frame_at(frame, 0)
    assert read is not None
    assert (read.seq, read.kind, read.body, read.end) == (7, "ended", b"\x05", len(frame))
    assert frame_at(bytes(64), 0) is None
