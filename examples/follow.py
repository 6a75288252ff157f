"""Follow a running peer from a program of yours, with Python's standard library only.

python examples/follow.py http://127.0.0.1:8400 3
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen


def events(address: str) -> Iterator[dict[str, Any]]:
    """Yield what the peer at `address` says, its history first; see docs/guide/commands.md for the names."""
    with urlopen(f"{address}/v1/events") as stream:
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def main(address: str, blocks: int) -> None:
    """Print one line for each of `blocks` evaluated blocks."""
    for event in events(address):
        if event["event"] == "block.evaluated":
            figures = {name: value for name, value in event.items() if isinstance(value, float)}
            print(event["height"], *(f"{name}={value:.3f}" for name, value in figures.items()))
            blocks -= 1
            if blocks == 0:
                return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
