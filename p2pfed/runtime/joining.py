"""What a peer without data asks one peer for: genesis and the initial model, both checked by hash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from p2pfed.chain.genesis import decode_genesis, verify_genesis
from p2pfed.errors import LocalError, NoPeersError, PeerFault
from p2pfed.net.factory import make_transport
from p2pfed.net.transport import Transport, TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import chunk_count, chunk_root
from p2pfed.runtime.progress import Paced, Progress
from p2pfed.types.address import Multiaddr
from p2pfed.types.genesis import Genesis, exponent_bytes, genesis_exponents_root, model_bytes
from p2pfed.types.model import ModelState
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.wire import (
    Chunk,
    GenesisBytes,
    GetChunk,
    GetGenesis,
    GetSnapshot,
    Missing,
    decode_response,
)

T = TypeVar("T")

REQUEST_TIMEOUT_MS = 10_000
DIAL_TIMEOUT_MS = 5_000
ATTEMPTS = 5  # The first contact may just be starting; about ten seconds in all.
PAUSE_MS = 1_000


class Deaf:
    """A handler for a peer that only asks."""

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None: ...

    def disconnected(self, peer: bytes, reason: str) -> None: ...

    async def message(self, peer: bytes, data: bytes) -> None: ...

    async def serve(self, peer: bytes, data: bytes) -> bytes:  # noqa: ARG002
        return codec.encode(Missing())  # A fault would end the pipe, and peers ask whoever is connected.


async def fetch_founding(
    key: PrivateKey, contacts: Sequence[Multiaddr], chain_id: bytes, transport_name: str
) -> Genesis:
    """Return the genesis of the network `chain_id` from the first contact that answers.

    Raises:
        NoPeersError: No contact answered; names the last reason.
        LocalError: What came is not what `chain_id` names.
    """

    async def fetch(transport: Transport, peer: bytes) -> Genesis:
        return await fetch_genesis(transport, peer, chain_id)

    return await _from_first(key, contacts, chain_id, transport_name, fetch)


async def offers_snapshot(key: PrivateKey, contacts: Sequence[Multiaddr], genesis: Genesis) -> bool:
    """Answer whether the first contact that answers offers a snapshot; raises as `fetch_founding` does."""

    async def fetch(transport: Transport, peer: bytes) -> bool:
        answer = decode_response(await ask(transport, peer, codec.encode(GetSnapshot(0))))
        return isinstance(answer, Snapshot)

    return await _from_first(key, contacts, genesis.chain_id, genesis.transport, fetch)


async def fetch_initial_model(
    key: PrivateKey,
    contacts: Sequence[Multiaddr],
    genesis: Genesis,
    tell: Callable[[Progress], None] = lambda _: None,
) -> ModelState:
    """Return the initial model of a network whose genesis is here; raises as `fetch_founding` does.

    `tell` hears now and then how much of it has come.
    """

    async def fetch(transport: Transport, peer: bytes) -> ModelState:
        return await _model(transport, peer, genesis, Paced(tell))

    return await _from_first(key, contacts, genesis.chain_id, genesis.transport, fetch)


async def _from_first(
    key: PrivateKey,
    contacts: Sequence[Multiaddr],
    chain_id: bytes,
    transport_name: str,
    fetch: Callable[[Transport, bytes], Awaitable[T]],
) -> T:
    """Return what `fetch` gets from the first contact that answers."""
    transport = make_transport(transport_name, key=key, chain_id=chain_id, handler=Deaf())
    reason = "no address is known"
    try:
        for attempt in range(ATTEMPTS if contacts else 0):
            for contact in contacts:
                try:
                    peer = await transport.dial(contact, timeout_ms=DIAL_TIMEOUT_MS)
                    return await fetch(transport, peer)
                except (TransportError, PeerFault) as error:
                    reason = str(error)
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(PAUSE_MS / 1000)
    finally:
        await transport.close()
    raise NoPeersError(
        f"no peer of network {chain_id.hex()[:12]}… could be asked: {reason}; "
        "see that one runs there, and compare --join and --chain with the line that it printed at its start"
    )


async def fetch_genesis(transport: Transport, peer: bytes, chain_id: bytes) -> Genesis:
    """Return the genesis that a connected peer sends.

    Raises:
        TransportError, MalformedMessage: It sends none.
        LocalError: It sends another than `chain_id` names.
    """
    answer = decode_response(await ask(transport, peer, codec.encode(GetGenesis())))
    if not isinstance(answer, GenesisBytes):
        raise TransportError("the peer did not send its genesis")
    genesis = decode_genesis(answer.data)
    if genesis.chain_id != chain_id:
        raise LocalError(f"the peer's genesis founds {genesis.chain_id.hex()}, --chain says {chain_id.hex()}")
    verify_genesis(genesis)
    return genesis


async def _model(
    transport: Transport, peer: bytes, genesis: Genesis, tell: Callable[[Progress], None]
) -> ModelState:
    large, small = model_bytes(genesis), exponent_bytes(genesis)

    def came(done: int) -> None:
        tell(Progress(0, done, large + small, "model"))

    weights = await _blob(transport, peer, genesis.model_root, large, came)
    exponents = await _blob(transport, peer, genesis_exponents_root(genesis), small, lambda _: None)
    return ModelState.from_bytes(weights, exponents, genesis.manifest)


async def _blob(
    transport: Transport, peer: bytes, root: bytes, length: int, came: Callable[[int], None]
) -> bytes:
    pieces, done = [], 0
    for index in range(chunk_count(length)):
        answer = decode_response(await ask(transport, peer, codec.encode(GetChunk(root, index))))
        if not isinstance(answer, Chunk):
            raise TransportError("the peer does not keep the initial model any more; ask another one")
        pieces.append(answer.data)
        done += len(answer.data)
        came(done)
    data = b"".join(pieces)
    if chunk_root(data) != root:
        raise LocalError(f"the peer sent an initial model that is not {root.hex()}; ask another one")
    return data


async def ask(transport: Transport, peer: bytes, request: bytes) -> bytes:
    """Return the bytes that a connected peer answers; raises TransportError."""
    return await transport.request(peer, request, timeout_ms=REQUEST_TIMEOUT_MS)
