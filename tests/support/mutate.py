"""Every way to change one leaf of a message, found by walking it: a field added later can't be missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


def mutations(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path of the leaf, `value` with that leaf changed); empty tuples have none."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            for leaf, mutated in mutations(getattr(value, field.name), f"{path}.{field.name}"):
                yield leaf, msgspec.structs.replace(value, **{field.name: mutated})
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            for leaf, mutated in mutations(item, f"{path}[{place}]"):
                yield leaf, (*value[:place], mutated, *value[place + 1 :])
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, int):
        yield path, value + 1
    elif isinstance(value, str):
        yield path, value + "x"
    elif isinstance(value, bytes):
        yield path, value[:-1] + bytes([value[-1] ^ 1]) if value else b"\x00"
    elif value is None:
        yield path, bytes(32)  # Only a nil vote is None: it becomes a vote for a value.
    else:
        raise TypeError(f"{path}: no way to mutate {value!r}")


def rearrangements(items: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (what was done, `items` with one left out, doubled, or swapped with its neighbour)."""
    for place in range(len(items)):
        yield f"[{place}] left out", items[:place] + items[place + 1 :]
        yield f"[{place}] twice", (*items[: place + 1], *items[place:])
    for place in range(len(items) - 1):
        yield (
            f"[{place}] after its neighbour",
            (
                *items[:place],
                items[place + 1],
                items[place],
                *items[place + 2 :],
            ),
        )
