"""When to dial a peer again: for ever, ever more rarely, and never in step with everybody else."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.primitives.digest import tagged

BACKOFF_FIRST_MS = 500
BACKOFF_MAX_MS = 30_000  # A peer that comes back is found within half a minute even if it dials nobody.
DIAL_DEADLINE_MS = 5_000  # A dial nobody reported on is still under way for so long.
# Two peers that dial each other at once would each drop the other's pipe. So the larger key gives the
# smaller one this head start, and dials all the same afterwards: the smaller one may sit behind a NAT.
HEAD_START_MS = 500
PIPE_STABLE_MS = 10_000  # A pipe that closes sooner was a failed attempt: whoever refuses us is not hammered.
DIALS_AT_ONCE_MAX = 32  # Handshakes cost CPU; a large network is dialled in portions.
PORTION_MS = 100


class Dialling(Struct):
    """The attempts to reach one peer, or one address whose key is unknown."""

    attempt: int = 0
    due_ms: int = 0


def backoff_ms(own: bytes, name: bytes, attempt: int) -> int:
    """Return how long to wait after failed attempt number `attempt` (from 0).

    It doubles from BACKOFF_FIRST_MS to BACKOFF_MAX_MS; between half and all of it is waited. The share comes
    from a hash, so peers that lost each other at one moment come back at different ones, and a run repeats.
    """
    full_ms = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(attempt, 16))
    dice = int.from_bytes(tagged("dial", own + name + attempt.to_bytes(8, "big"))[:8], "big")
    return full_ms // 2 + dice % (full_ms - full_ms // 2 + 1)


def head_start_ms(own: bytes, peer: bytes) -> int:
    """Return how long `own` lets `peer` dial first: nothing where its own key is the smaller."""
    return 0 if own < peer else HEAD_START_MS
