"""What a start makes of the log beside blocks and vote state, and what it tells a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from support import tiny_chain

from p2pfed.consensus import io
from p2pfed.consensus.journal import Began, Ended, Entry, Said
from p2pfed.consensus.signer import SignRecord, initial_record
from p2pfed.runtime.log_reading import LogFound, open_log
from p2pfed.storage.home import Home
from p2pfed.storage.log import Log
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.store import Store
from p2pfed.types.proposal import Proposal
from p2pfed.types.wire import ProposalMessage

HEIGHTS = 2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two blocks, and the third one as a value that is pending."""
    home = Home(tmp_path / "home")
    tiny_chain.make_home(home, HEIGHTS)
    opened = Store(home, tiny_chain.genesis())
    yield opened
    opened.close()


def write(store: Store, *entries: Entry) -> None:
    log = Log(FolderFiles(store.home.wal), store.chain.chain_id)
    log.open()
    for entry in entries:
        log.append(entry)
    log.sync()


def read(store: Store, record: SignRecord | None = None) -> LogFound:
    log = Log(FolderFiles(store.home.wal), store.chain.chain_id)
    return open_log(log, store, HEIGHTS + 1, record or initial_record())


def at_height(height: int) -> SignRecord:
    return msgspec.structs.replace(initial_record(), height=height, round=0, step=2)


def checked(store: Store) -> tuple[Entry, ...]:
    """The pending value, proposed and found valid."""
    header, _ = store.chain.pending()[0]
    message = ProposalMessage(Proposal(header.height, 0, header.value_id, -1, 1, bytes(64)), header, None)
    verdict = io.ValueReady(header.value_id, is_valid=True)
    return Began(HEIGHTS + 1, 0, None), io.CollectEnded(), io.ProposalReceived(message), verdict


def test_the_log_of_the_next_height_is_used_and_nothing_is_said(store: Store) -> None:
    for payload in tiny_chain.steps(HEIGHTS + 1)[-1].payloads:
        store.blobs.put(payload)
    write(store, Began(2, 0, None), Ended(2), *checked(store))
    assert read(store, at_height(3)) == LogFound(checked(store), ())


def test_an_empty_log_is_no_news(store: Store) -> None:
    assert read(store) == LogFound((), ())


def test_a_torn_end_is_cut_and_said_with_its_length(store: Store) -> None:
    write(store, Began(3, 0, None))
    path = store.home.wal / "00000001.log"
    path.write_bytes(path.read_bytes() + b"torn")
    found = read(store)
    assert found.history == (Began(3, 0, None),)
    assert found.notes == ("4 bytes of a torn entry were cut from the end of the log",)


def test_a_verdict_whose_body_or_payload_is_gone_is_not_used(store: Store) -> None:
    write(store, *checked(store))
    found = read(store)  # The payloads were never put.
    assert found.history == ()
    assert "the payload " in found.notes[0]
    assert "is gone: going on from the vote state" in found.notes[0]


def test_a_log_of_an_older_height_than_the_vote_state_is_said_and_not_used(store: Store) -> None:
    write(store, Began(1, 0, None), io.CollectEnded())
    found = read(store, at_height(3))
    assert found.history == ()
    assert "the log ends at height 1, the vote state at height 3" in found.notes[0]


def test_a_vote_state_above_the_newest_block_is_said_with_both_heights(store: Store) -> None:
    assert read(store, at_height(3)).notes == ()
    (note,) = read(store, at_height(6)).notes
    assert note.startswith(
        "the vote state is at height 6, the newest block is that of height 2: nothing is signed"
    )


def test_a_log_above_the_newest_block_is_said_with_both_heights(store: Store) -> None:
    write(store, Began(5, 0, None), Ended(5))
    found = read(store, at_height(6))
    assert found.history == ()
    assert "the log ends height 5, the newest block is that of height 2" in found.notes[0]


def test_words_are_part_of_what_is_used(store: Store) -> None:
    vote = tiny_chain.steps(1)[0].block.commit
    entries = (Began(3, 0, None), io.CommitReceived(vote), io.TimeoutFired("propose", 0))
    write(store, *entries)
    assert read(store).history == entries
    assert not any(isinstance(entry, Said) for entry in entries)
