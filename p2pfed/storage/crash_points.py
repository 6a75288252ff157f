"""Named points around every durable write, so that a test can kill the process at each of them.

`P2PFED_CRASH_AT=name[:n]` asks for kill -9 at the n-th passing (the first where n is left out).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from p2pfed.errors import UsageError

VARIABLE = "P2PFED_CRASH_AT"

# A file replaced whole passes four points: nothing done, temporary file synced, renamed, folder synced.
_FILE_STEPS = ("begin", "written", "renamed", "durable")
# A transaction passes three: nothing done, rows written but not committed, committed and synced.
_TRANSACTION_STEPS = ("begin", "rows", "committed")
FILES = ("vote_state", "blob", "key", "genesis", "peers", "file")
# The log: entries wait in memory, are written, are synced. `rotate` comes before each new file.
_LOG_STEPS = ("begin", "written", "durable", "ended", "rotate", "rotated", "dropped", "cut")
TRANSACTIONS = ("block", "pending", "polka", "meta", "held")

NAMES: tuple[str, ...] = (
    *(f"{name}.{step}" for name in FILES for step in _FILE_STEPS),
    *(f"{name}.{step}" for name in TRANSACTIONS for step in _TRANSACTION_STEPS),
    *(f"log.{step}" for step in _LOG_STEPS),
    "blob.deleted",
)

_armed: dict[str, int] = {}  # Name -> passings left, at most one entry; empty in production.


def arm(environment: Mapping[str, str]) -> None:
    """Read the wish for a crash from `environment`; a peer calls it once at its start.

    Raises:
        UsageError: The variable names no crash point, or a passing below 1.
    """
    _armed.clear()
    wish = environment.get(VARIABLE)
    if not wish:
        return
    name, _, passing = wish.partition(":")
    if name not in NAMES:
        raise UsageError(f"{VARIABLE}={wish}: no crash point {name!r}; there are {', '.join(NAMES)}")
    if passing and not (passing.isascii() and passing.isdigit() and int(passing) > 0):
        raise UsageError(f"{VARIABLE}={wish}: the passing after ':' is a whole number from 1 on")
    _armed[name] = int(passing or 1)


def crashpoint(name: str) -> None:
    """Pass the point `name`: nothing happens, unless `arm` was told to end the process here."""
    assert name in NAMES, name
    if name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
