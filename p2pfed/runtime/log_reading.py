"""Read the write-ahead log at a start: what of it is used, and what a person should know about the rest."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.chain.recovery import usable_history
from p2pfed.consensus.journal import Began, Ended, Entry
from p2pfed.consensus.signer import SignRecord
from p2pfed.primitives import codec
from p2pfed.storage.log import Log
from p2pfed.storage.store import Store
from p2pfed.types.block import Body, Header
from p2pfed.types.params import BODY_BYTES_MAX


class LogFound(Struct, frozen=True):
    """The log of the height to work on, and a sentence for each thing that was not as it should be."""

    history: tuple[Entry, ...]
    notes: tuple[str, ...]


def open_log(log: Log, store: Store, height: int, record: SignRecord) -> LogFound:
    """Open the log for writing; return what it holds of `height`, the one after the newest block.

    Raises:
        LocalError: It is the log of another chain.
        StorageFault, DiskFull: It is damaged before its tail, or the disk refuses.
    """
    entries, torn_bytes = log.open()
    notes: list[str] = []
    if torn_bytes:
        notes.append(f"{torn_bytes} bytes of a torn entry were cut from the end of the log")
    began = max((entry.height for entry in entries if isinstance(entry, Began)), default=0)
    ended = max((entry.height for entry in entries if isinstance(entry, Ended)), default=0)
    if ended >= height:
        notes.append(
            f"the log ends height {ended}, the newest block is that of height {height - 1}: "
            "the missing ones are fetched"
        )
    elif entries and began < min(height, record.height):
        notes.append(
            f"the log ends at height {began}, the vote state at height {record.height}: "
            "going on from the vote state"
        )

    if record.height > height:
        notes.append(
            f"the vote state is at height {record.height}, the newest block is that of height {height - 1}: "
            "nothing is signed before the blocks between are fetched"
        )

    def body_of(header: Header) -> Body | None:
        data = store.chain.body_bytes(header.body_hash) or store.blobs.load(header.body_hash)
        return None if data is None else codec.decode(data, Body, BODY_BYTES_MAX)

    history, missing = usable_history(entries, height, body_of, store.blobs.has)
    if missing:
        notes.append(f"{missing}: going on from the vote state")
    return LogFound(history, tuple(notes))
