"""A home with the chain of a small world in it, payloads, models and ledgers too: for whoever reads homes."""

from __future__ import annotations

from collections.abc import Callable

from support.chain import World

from p2pfed.chain.genesis import dump_genesis
from p2pfed.chain.state import encode_ledger
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.update import UpdateHeader

Headers = Callable[[int], tuple[UpdateHeader, ...]]


def keep_chain(home: Home, world: World, heights: int, headers: Headers) -> Store:
    """Let `world` agree on `heights` blocks and return the open store that has them.

    Args:
        home: Where; an empty folder.
        world: At genesis.
        heights: How many blocks.
        headers: The updates that everybody holds for the block of a height.
    """
    home.create()
    replace_file(home.genesis, dump_genesis(world.genesis).encode(), "genesis")
    store = Store(home, world.genesis)
    assert world.state.model is not None
    store.save_genesis(world.state.model, None)
    for height in range(1, heights + 1):
        held = headers(height)
        for header in held:
            store.blobs.put(world.blobs[header.update_id])
        block = world.advance(headers=held)
        store.save_block(block, encode_ledger(world.state.ledger), world.state.model)
    return store
