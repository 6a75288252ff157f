"""Remember which ids passed lately, so that a message is checked and forwarded once."""

from __future__ import annotations


class Seen:
    """At most `capacity` ids; the one that was met longest ago is forgotten first.

    A forgotten id only costs a second check of its message, so the bound is safe.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity > 0
        self._capacity = capacity
        self._ids: dict[bytes, None] = {}  # In order of the last meeting.

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._ids

    def first_time(self, message_id: bytes) -> bool:
        """Note the id; answer whether it was not known."""
        is_new = message_id not in self._ids
        if not is_new:
            del self._ids[message_id]
        elif len(self._ids) == self._capacity:
            del self._ids[next(iter(self._ids))]
        self._ids[message_id] = None
        return is_new

    def forget(self, message_id: bytes) -> None:
        """Let the id count as new again, where its message turned out to be worthless."""
        self._ids.pop(message_id, None)
