"""What a home's disk holds: agreed models and blocks, whether its peer runs or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pfed.api.happenings import Block
from p2pfed.chain.update_set import update_set
from p2pfed.errors import LocalError
from p2pfed.learning.delta import named
from p2pfed.learning.learner import Array
from p2pfed.privacy.mechanism import model_view
from p2pfed.runtime.model_reading import stored_model
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types import block as blocks
from p2pfed.types.address import peer_id


def open(home: str | os.PathLike[str]) -> Chain:  # noqa: A001 - p2pfed.open
    """Return the chain in a home folder.

    Raises:
        LocalError: There is no home, or its genesis is none.
    """
    return Chain(Home(Path(home)))


class Chain:
    """The chain on a home's disk. Every call reads what is there now; nothing stays open."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.genesis = read_genesis(home)

    @property
    def id(self) -> str:
        """The network's chain id, 64 hexadecimal digits."""
        return self.genesis.chain_id.hex()

    @property
    def height(self) -> int:
        """The last final height; 0 before the first block."""
        with self._store() as store:
            return store.chain.height

    def model(self, height: int | None = None) -> dict[str, Array]:
        """Return the model agreed at `height`, None for the newest: float32 arrays by name, as in genesis.

        Arrays that are never shared, such as integer counters, are not in it.

        Raises:
            LocalError: There is no such height, or its model is pruned; names the nearest kept one.
        """
        with self._store() as store:
            _, model = stored_model(store, height)
        manifest = self.genesis.manifest
        return named(model_view(model, manifest.groups), manifest)

    def blocks(self, first: int | None = None) -> Iterator[Block]:
        """Yield the final blocks from `first` on, None for the first that is held; without figures.

        `expected` counts who trains by genesis; the blocks of a running peer know who still does.

        Raises:
            LocalError: The disk has no block `first`.
        """
        with self._store() as store:
            begin = self.genesis.params.height_first if first is None else first
            tip = store.chain.height
            held = [block for height in range(begin, tip + 1) if (block := store.chain.block(height))]
            trainers = sum(one.trains for one in self.genesis.participants)
        if first is not None and (not held or held[0].header.height != first):
            raise LocalError(f"there is no block {first}; the last final one is {tip}")
        yield from (_plain(block, trainers) for block in held)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        store = Store(self._home, self.genesis, read_only=True)
        try:
            yield store
        finally:
            store.close()


def _plain(block: blocks.Block, trainers: int) -> Block:
    header = block.header
    updates = () if header.is_empty else update_set(block.body.updates, header.round0).updates
    return Block(
        height=header.height,
        hash=header.value_id.hex(),
        model_root=header.model_root.hex(),
        rule=header.rule,
        updates=len(updates),
        expected=trainers,
        trainers=tuple(peer_id(update.trainer) for update in updates),
        round=block.commit.round,
        took_ms=0,
        is_empty=header.is_empty,
    )
