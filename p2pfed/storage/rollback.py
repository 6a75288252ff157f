"""Take a store back to the state after an earlier final block, so that the blocks above are fetched again."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.consensus.signer import decode_record
from p2pfed.errors import LocalError, MalformedMessage, StorageFault
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.home import Home
from p2pfed.storage.log import repair
from p2pfed.storage.log_files import FolderFiles
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile

SHOWN_MAX = 24  # Heights that a refusal names.


class RollbackPlan(Struct, frozen=True):
    """What a rollback deletes: `blocks` above `height`, with their ledgers, models and payloads.

    signed_height: The height that the signer's record is at. The record stays, so nothing is signed below it.
    blobs: Files that no height needs any more, of so many `bytes`.
    """

    height: int
    tip: int
    blocks: int
    blobs: int
    bytes: int
    signed_height: int


def held_states(chain: BlockStore) -> tuple[int, ...]:
    """Return the heights whose block, ledger and model are all here, ascending: where one can go back to."""
    return tuple(
        height
        for height in chain.ledger_heights()
        if (header := chain.header(height)) is not None
        and chain.blob_status(height, "model", header.model_root) == "held"
    )


def plan_rollback(store: Store, height: int) -> RollbackPlan:
    """Return what going back to `height` would delete; nothing is changed.

    Raises:
        LocalError: The whole state of that height is not here, it is not below the newest block, or there is
            no signer's record.
        StorageFault: The record or the model of that height is damaged.
    """
    chain, tip = store.chain, store.chain.height
    if height >= tip:
        raise LocalError(f"the newest block is {tip}; there is nothing above {height} to delete")
    held = held_states(chain)
    if height not in held:
        below = ", ".join(map(str, [one for one in held if one < tip][-SHOWN_MAX:])) or "none"
        raise LocalError(
            f"the state of height {height} is not held whole (base {chain.base}, newest block {tip}); "
            f"heights to go back to: {below}"
        )
    store.load_model(height)  # Read and hashed: what is gone back to must be sound.
    doomed = chain.roots_only_above(height)
    sizes = [store.blobs.size(root) for root in doomed]
    return RollbackPlan(
        height,
        tip,
        tip - height,
        sum(size is not None for size in sizes),
        sum(size or 0 for size in sizes),
        _signed_height(store.home),
    )


def roll_back(store: Store, plan: RollbackPlan) -> None:
    """Delete what `plan` says. The signer's record stays: no vote of this key is ever given twice.

    A crash leaves the store before or after; the consensus log, which is about heights that are undone, goes
    first, since the record alone is enough to go on from.
    """
    files = FolderFiles(store.home.wal)
    try:
        repair(files, store.genesis.chain_id, forget=True)
    finally:
        files.close()
    doomed = store.chain.roll_back(plan.height)
    store.blobs.height = plan.height
    for root in doomed:
        store.blobs.delete_unused(root, plan.tip + 1)


def _signed_height(home: Home) -> int:
    data = VoteStateFile(home.vote_state).load()
    if data is None:
        raise LocalError(
            f"{home.vote_state} is missing, and after a rollback a vote could be given twice without it; "
            "put it back first"
        )
    try:
        return decode_record(data).height
    except MalformedMessage as error:
        raise StorageFault(f"{home.vote_state} holds no record: {error}") from None
