"""Homes of a network that has grown already: real blocks, made without waiting for them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from support.chain import World

from p2pfed.chain.genesis import dump_genesis
from p2pfed.chain.state import encode_ledger
from p2pfed.consensus.signer import initial_record
from p2pfed.primitives import codec
from p2pfed.runtime.config import Config, HttpConfig, LaboratoryConfig, NetworkConfig, dump_config
from p2pfed.storage.files import replace_file
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import save_key
from p2pfed.storage.store import Store
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.model import ModelState


class Grown:
    """A network of one participant a bond, whose chain has some heights; `found` writes a peer's home."""

    def __init__(self, bonds: list[int], now_ms: int, heights: int) -> None:
        self.world = World(bonds, time_ms=now_ms - 600_000, transport="tcp")
        self._initial: ModelState | None = self.world.state.model
        self.steps = []
        for _ in range(heights):
            block = self.world.advance()
            self.steps.append((block, encode_ledger(self.world.state.ledger), self.world.state.model))

    def found(self, folder: Path, member: int, port: int, join: list[int], byzantine: str = "") -> Home:
        """Write the home of a member that has every block."""
        home = self.empty(folder, member, port, join, byzantine)
        store = Store(home, self.world.genesis)
        assert self._initial is not None
        store.save_genesis(self._initial, None)
        for block, ledger, model in self.steps:
            store.save_block(block, ledger, model)
            store.clean_up()
        store.close()
        return home

    def empty(self, folder: Path, member: int, port: int, join: list[int], byzantine: str = "") -> Home:
        """Write the home of a member that has its key, genesis and nothing else."""
        home = Home(folder)
        home.create()
        save_key(home.key, self.world.keys[self.world.publics[member]])
        config = Config(
            network=NetworkConfig(port=port, join=tuple(f"127.0.0.1:{one}" for one in join)),
            http=HttpConfig(enabled=False),
            laboratory=LaboratoryConfig(byzantine=byzantine),
        )
        replace_file(home.config, dump_config(config).encode())
        VoteStateFile(home.vote_state).save(codec.encode(initial_record()))
        replace_file(home.genesis, dump_genesis(self.world.genesis).encode())
        assert msgspec.structs.asdict(self.world.genesis)["transport"] == "tcp"
        return home
