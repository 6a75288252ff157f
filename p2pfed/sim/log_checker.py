"""The law of the log: going through it again gives the very state of the engine that wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from p2pfed.chain.recovery import usable_history
from p2pfed.consensus.journal import Began, Ended, Entry, Said, decode_entry, encode_entry, input_of
from p2pfed.consensus.replay import fingerprint, history_of
from p2pfed.errors import PeerFault
from p2pfed.node.height import HeightWork
from p2pfed.sim.disk import Disk
from p2pfed.storage.log import Log, survey

ROTATE_BYTES = 4_000  # Small, so that a run of a few heights has several files.
HEIGHTS_KEPT = 4  # No more is asked for; the log keeps two beside the one under way.


class LogChecker:
    """What one peer appended in all its lives, by number, and how much of it was promised to be durable."""

    def __init__(self) -> None:
        self._told: dict[int, Entry] = {}
        self._begun: list[int] = []  # The numbers of the newest Began entries, one for each height.
        self._promised = -1

    def append(self, seq: int, entry: Entry) -> None:
        self._told[seq] = entry
        if isinstance(entry, Began) and entry.record is None:
            self._begun.append(seq)
            if len(self._begun) > HEIGHTS_KEPT:
                first = self._begun.pop(0)
                for old in [seq for seq in self._told if seq < first]:
                    del self._told[old]

    def synced(self) -> None:
        self._promised = next(reversed(self._told), -1)  # They were told in order.

    def recovered(self, entries: Sequence[tuple[int, Entry]]) -> str:
        """Take in what a start read, numbered; return what is wrong with it, or nothing."""
        last = entries[-1][0] if entries else -1
        if last < self._promised:
            return f"its log ends at entry {last} after a crash, {self._promised} was durable"
        for seq, entry in entries:
            told = self._told.get(seq)
            if told is not None and _again(told) != entry:
                return f"entry {seq} of its log is not what it appended"
        self._told = {seq: entry for seq, entry in self._told.items() if seq <= last}
        self._begun = [seq for seq in self._begun if seq <= last]
        self._promised = last
        return ""

    def compare(self, work: HeightWork | None, coming: Sequence[Entry] = ()) -> str:
        """Return how the engine at work differs from a new one that is told the log; nothing if it doesn't.

        Args:
            work: The height at work.
            coming: Entries that the node asked for and whose turn has not come: its engine has taken them in.
        """
        if work is None:
            return ""
        history = history_of([_again(entry) for entry in (*self._told.values(), *coming)], work.height)
        if not history:
            return f"its log has nothing of height {work.height}"
        began = history[0]
        assert isinstance(began, Began)
        engine = work.make_engine(began.record)
        for entry in history[1:]:
            assert not isinstance(entry, Began | Ended)
            try:
                engine.step(input_of(entry.message) if isinstance(entry, Said) else entry)
            except PeerFault as fault:
                return f"its log of height {work.height} holds what its engine refuses: {fault}"
        if fingerprint(engine) != fingerprint(work.engine):
            return f"going through its log of height {work.height} again gives another state"
        return ""


class LogFound(Struct, frozen=True):
    """A log opened for writing, what it holds of the height to work on, and why that is nothing.

    problem: What is wrong with it, by the checker; nothing if all is well.
    """

    log: Log
    history: tuple[Entry, ...]
    missing: str
    problem: str


def open_log(disk: Disk, chain_id: bytes, height: int, checker: LogChecker) -> LogFound:
    """Open the log of a disk as at any start, for the height after its newest block."""
    kept = survey(disk.log_files, chain_id).entries()
    log = Log(disk.log_files, chain_id, ROTATE_BYTES)
    entries, _ = log.open()
    problem = checker.recovered(kept)
    history, missing = usable_history(entries, height, disk.body, lambda root: disk.blob(root) is not None)
    return LogFound(log, history, missing, problem)


def _again(entry: Entry) -> Entry:
    """Return the entry as it comes back from its encoding."""
    return decode_entry(*encode_entry(entry))
