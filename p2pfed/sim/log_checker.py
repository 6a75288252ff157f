"""The law of the log: going through it again gives the very state of the engine that wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.consensus.journal import Began, Ended, Entry, Said, decode_entry, encode_entry, input_of
from p2pfed.consensus.replay import fingerprint, history_of
from p2pfed.errors import PeerFault
from p2pfed.node.height import HeightWork


class LogChecker:
    """Everything that one peer appended in all its lives, and how much of it was promised to be durable."""

    def __init__(self) -> None:
        self._told: list[Entry] = []
        self._promised = 0

    def append(self, entry: Entry) -> None:
        self._told.append(decode_entry(*encode_entry(entry)))

    def synced(self) -> None:
        self._promised = len(self._told)

    def recovered(self, entries: Sequence[Entry]) -> str:
        """Take in what a start read; return what is wrong with it, or nothing."""
        told, self._told = self._told, list(entries)
        promised, self._promised = self._promised, len(entries)
        if len(entries) < promised:
            return f"its log has {len(entries)} entries after a crash, {promised} were durable"
        if self._told != told[: len(entries)]:
            return "its log holds what it never appended"
        return ""

    def compare(self, work: HeightWork | None, coming: Sequence[Entry] = ()) -> str:
        """Return how the engine at work differs from a new one that is told the log; nothing if it doesn't.

        Args:
            work: The height at work.
            coming: Entries that the node asked for and whose turn has not come: its engine has taken them in.
        """
        if work is None:
            return ""
        history = history_of([*self._told, *coming], work.height)
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
