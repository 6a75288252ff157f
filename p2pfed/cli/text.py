"""Text of others on a terminal: names, addresses and refusals are hostile input."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with whatever could move a terminal's cursor or turn its writing round as `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)
