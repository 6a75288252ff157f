"""What of a height's log can still be used: a value that counts as valid needs its data on this disk (W8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2pfed.chain.update_set import update_set
from p2pfed.consensus.journal import Entry
from p2pfed.consensus.replay import history_of, values_of
from p2pfed.types.block import Body, Header


def usable_history(
    entries: Sequence[Entry],
    height: int,
    body_of: Callable[[Header], Body | None],
    has_blob: Callable[[bytes], bool],
) -> tuple[tuple[Entry, ...], str]:
    """Return the log of `height`, and a clause that says what is missing where it can't be used.

    A verdict without its data would be a vote that nobody here can stand for, so without one piece the whole
    history goes, and the peer goes on from the signer's record: what it said stays said.

    Args:
        entries: The whole log.
        height: The one after the newest block.
        body_of: Answers for a header with its body; None where that isn't here.
        has_blob: Answers for a payload root.
    """
    history = history_of(entries, height)
    for header in values_of(history):
        body = body_of(header)
        if body is None:
            return (), f"the body of value {header.value_id.hex()[:12]}… is gone"
        for update in update_set(body.updates, header.round0).updates:
            if not has_blob(update.payload_root):
                return (), f"the payload {update.payload_root.hex()[:12]}… of a checked value is gone"
    return history, ""
