"""Which heights keep their payloads and models: a pure function of the tip, so an audit can recompute it."""

from __future__ import annotations

PAYLOAD_HEIGHTS = 8  # Long enough for a peer that restarts to check the last aggregates itself.
MODEL_HEIGHTS = 8
SNAPSHOT_INTERVAL = 32  # S of spec/consensus.md section 17.
SNAPSHOTS_KEPT = 4
LOOSE_HEIGHTS = 8  # A blob that no block names (a refused update) stays this many heights after its last use.


def keeps_payloads(height: int, tip: int) -> bool:
    """Answer whether the payloads of `height` are kept when `tip` is the last final height."""
    return tip - PAYLOAD_HEIGHTS < height <= tip


def keeps_model(height: int, tip: int) -> bool:
    """Answer whether model and ledger of `height` are kept: recent, genesis or one of the last snapshots."""
    if not 0 <= height <= tip:
        return False
    oldest_snapshot = tip - tip % SNAPSHOT_INTERVAL - (SNAPSHOTS_KEPT - 1) * SNAPSHOT_INTERVAL
    is_snapshot = height % SNAPSHOT_INTERVAL == 0 and height >= oldest_snapshot
    return height == 0 or height > tip - MODEL_HEIGHTS or is_snapshot


def snapshot_heights(tip: int) -> tuple[int, ...]:
    """Return the heights whose whole state is kept for peers that join, the newest first."""
    newest = tip - tip % SNAPSHOT_INTERVAL
    heights = (newest - place * SNAPSHOT_INTERVAL for place in range(SNAPSHOTS_KEPT))
    return tuple(height for height in heights if height > 0)


def dropped(tip: int) -> tuple[int, ...]:
    """Return the heights whose model was kept when `tip - 1` was the last one and isn't any more."""
    left_window = tip - MODEL_HEIGHTS
    left_snapshots = tip - tip % SNAPSHOT_INTERVAL - SNAPSHOTS_KEPT * SNAPSHOT_INTERVAL
    return tuple(
        sorted(
            {
                height
                for height in (left_window, left_snapshots)
                if height > 0 and not keeps_model(height, tip)
            }
        )
    )


def keeps(kind: str, height: int, tip: int) -> bool:
    """Answer whether the blob of `kind` (a kind of `storage.schema`) at `height` is kept."""
    return keeps_payloads(height, tip) if kind == "payload" else keeps_model(height, tip)
