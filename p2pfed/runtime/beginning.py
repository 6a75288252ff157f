"""How a peer without data starts: from the state of a recent snapshot, or from genesis by every block."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from p2pfed.chain.light import (
    TrustExpired,
    checkpoint_conflict,
    rules_of,
    trusted_genesis,
    verify_age,
)
from p2pfed.node.state_sync import SyncPlan
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.joining import offers_snapshot
from p2pfed.storage.store import Store
from p2pfed.types.address import Multiaddr
from p2pfed.types.genesis import Genesis
from p2pfed.types.snapshot import Snapshot

SyncMode = Literal["auto", "state", "blocks"]
SYNC_MODES: tuple[SyncMode, ...] = ("auto", "state", "blocks")
Checkpoint = tuple[int, bytes]  # Height and hash of a block that a person knows to be final.


class Beginning(Struct, frozen=True):
    """How a peer without data starts, and why: by the state of `plan`, without one by every block."""

    reason: str
    plan: SyncPlan | None = None


async def choose_beginning(
    key: PrivateKey,
    contacts: tuple[Multiaddr, ...],
    genesis: Genesis,
    *,
    mode: SyncMode,
    checkpoint: Checkpoint | None,
    resume: Snapshot | None,
    now_ms: int,
) -> Beginning:
    """Return how a peer without data starts.

    `auto` starts by state where a contact offers a snapshot and there is something young enough to trust,
    genesis or a checkpoint; else by every block.

    Raises:
        TrustExpired: `--sync state` from a genesis that is too old.
        NoPeersError: No contact answered.
    """
    rules, start = rules_of(genesis), None if checkpoint is not None else trusted_genesis(genesis)
    plan = SyncPlan(rules, start, checkpoint, resume)
    if mode == "blocks":
        return Beginning("--sync blocks")
    if start is not None:
        try:
            verify_age(start, rules, now_ms)
        except TrustExpired as error:
            if mode == "state":
                raise
            return Beginning(str(error))
    if mode == "state":
        return Beginning("--sync state", plan)
    if resume is not None:
        return Beginning(f"the state of height {resume.height} was being fetched", plan)
    if await offers_snapshot(key, contacts, genesis):
        return Beginning("a peer offers a snapshot", plan)
    return Beginning("no snapshot is offered yet")


def verify_checkpoint(store: Store, checkpoint: Checkpoint) -> None:
    """Raise CheckpointConflict where the store has another block of the checkpoint's height."""
    header = store.chain.header(checkpoint[0])
    conflict = None if header is None else checkpoint_conflict(checkpoint, header.value_id)
    if conflict is not None:
        raise conflict
