from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from support.tiny_chain import KEYS, found, genesis, keep, steps

from p2pfed.chain.proofs import account_key, find_account, find_update
from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.runtime.fresh import Fresh
from p2pfed.runtime.server import Server
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.light import LightBlock, ListProof
from p2pfed.types.wire import (
    Blocks,
    BulkRequest,
    BulkResponse,
    Chunk,
    GenesisBytes,
    GetBlocks,
    GetChunk,
    GetGenesis,
    GetLightBlock,
    GetProof,
    Missing,
    decode_response,
)

PEER = b"\2" * 33


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = found(Home(tmp_path / "home"))
    for step in steps(3):
        keep(made, step)
    yield made
    made.close()


async def test_what_is_fresh_is_served_before_it_is_on_disk_and_withheld_where_a_liar_withholds(
    store: Store, disk: ThreadPoolExecutor
) -> None:
    fresh, data = Fresh(), b"a body that was built a moment ago"
    root = chunk_root(data)
    fresh.keep(root, data)
    for is_shown in (True, False):
        server = Server(store, disk, lambda _, is_shown=is_shown: is_shown, fresh=fresh)
        answer = decode_response(await server(PEER, codec.encode(GetChunk(root, 0))))
        assert answer == (Chunk(1, data, ()) if is_shown else Missing())


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def asked(server: Server, request: BulkRequest) -> BulkResponse:
    return decode_response(await server(PEER, codec.encode(request)))


async def test_a_store_serves_genesis_blocks_and_chunks(store: Store, disk: ThreadPoolExecutor) -> None:
    server, payload = Server(store, disk, lambda _: True), steps(3)[2].payloads[0]
    assert await asked(server, GetGenesis()) == GenesisBytes(encode_genesis(genesis()))
    assert await asked(server, GetBlocks(2, 16)) == Blocks(tuple(step.block for step in steps(3)[1:]))
    chunk = await asked(server, GetChunk(chunk_root(payload), 0))
    assert isinstance(chunk, Chunk)
    assert chunk.data == payload
    assert server.served_bytes > len(payload)


async def test_what_is_not_here_is_missing(store: Store, disk: ThreadPoolExecutor) -> None:
    server = Server(store, disk, lambda _: True)
    assert await asked(server, GetBlocks(4, 1)) == Missing()
    assert await asked(server, GetChunk(bytes(32), 0)) == Missing()
    assert await asked(server, GetChunk(chunk_root(steps(3)[2].payloads[0]), 1)) == Missing()


async def test_a_liar_may_withhold_what_it_has(store: Store, disk: ThreadPoolExecutor) -> None:
    root = chunk_root(steps(3)[2].payloads[0])
    server = Server(store, disk, lambda asked_for: asked_for != root)
    assert await asked(server, GetChunk(root, 0)) == Missing()


async def test_what_is_no_request_is_the_askers_fault(store: Store, disk: ThreadPoolExecutor) -> None:
    with pytest.raises(MalformedMessage):
        await Server(store, disk, lambda _: True)(PEER, b"give me all")


async def test_a_light_client_is_shown_any_block_with_its_sets(
    store: Store, disk: ThreadPoolExecutor
) -> None:
    server = Server(store, disk, lambda _: True)
    for step in (*steps(3), steps(3)[2]):
        height = step.block.header.height
        shown = await asked(server, GetLightBlock(height))
        assert isinstance(shown, LightBlock)
        assert (shown.header, shown.commit) == (step.block.header, step.block.commit)
        assert shown.validators.hash == step.block.header.validators_hash
        assert shown.next_validators.hash == step.block.header.next_validators_hash
    assert await asked(server, GetLightBlock(0)) == shown


async def test_accounts_and_updates_are_proven(store: Store, disk: ThreadPoolExecutor) -> None:
    server, step = Server(store, disk, lambda _: True), steps(3)[1]
    header, public = step.block.header, KEYS[1].public
    proof = await asked(server, GetProof(2, "state", account_key(public)))
    assert isinstance(proof, ListProof)
    assert find_account(proof, header, public) == step.state.ledger.account(public)
    update = step.block.body.updates[0]
    proof = await asked(server, GetProof(2, "updates", update.update_id))
    assert isinstance(proof, ListProof)
    assert find_update(proof, header, update.update_id) == update


async def test_a_block_whose_sets_are_forgotten_is_missing(store: Store, disk: ThreadPoolExecutor) -> None:
    """What the newest ledger does not hold any more belongs to validators whose bond may be gone."""
    server, ledger = Server(store, disk, lambda _: True), steps(3)[2].state.ledger
    later = msgspec.structs.replace(ledger.staking, oldest=3)
    server._ledger = 3, msgspec.structs.replace(ledger, staking=later)
    assert await asked(server, GetLightBlock(2)) == Missing()
    assert isinstance(await asked(server, GetLightBlock(3)), LightBlock)


async def test_what_a_light_client_asks_for_in_vain_is_missing(
    store: Store, disk: ThreadPoolExecutor, tmp_path: Path
) -> None:
    server = Server(store, disk, lambda _: True)
    assert await asked(server, GetLightBlock(4)) == Missing()
    assert await asked(server, GetProof(4, "state", b"")) == Missing()
    assert await asked(server, GetProof(4, "updates", b"")) == Missing()
    young = found(Home(tmp_path / "young"))
    try:
        assert await asked(Server(young, disk, lambda _: True), GetLightBlock(0)) == Missing()
    finally:
        young.close()
