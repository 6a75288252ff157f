"""Joining over the memory transport: what one peer serves, another founds its home on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.tiny_chain import KEYS, genesis, initial_model

from p2pfed.errors import LocalError, NoPeersError
from p2pfed.net.memory import MemoryNetwork
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_hashes, path_of_hashes
from p2pfed.runtime import joining, progress
from p2pfed.runtime.joining import fetch_founding, fetch_initial_model, offers_snapshot
from p2pfed.runtime.progress import Progress
from p2pfed.types.address import Multiaddr
from p2pfed.types.genesis import encode_genesis
from p2pfed.types.wire import (
    Chunk,
    GenesisBytes,
    GetChunk,
    GetGenesis,
    Missing,
    decode_request,
    decode_response,
)

CHAIN = genesis().chain_id


class Contact:
    """A handler that serves genesis and the initial model, or whatever `twist` makes of an answer."""

    def __init__(self, twist: Callable[[object], object] = lambda answer: answer) -> None:
        self._twist = twist
        model = initial_model()
        blobs = (model.weights_bytes(), model.exponents_bytes())
        self._chunks = {
            root: Chunk(1, data, path_of_hashes(chunk_hashes(data), 0))
            for root, data in zip((model.root, model.exponents_root), blobs, strict=True)
        }

    def connected(self, *_: object, **__: object) -> None: ...

    def disconnected(self, *_: object) -> None: ...

    async def message(self, *_: object) -> None: ...

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        request = decode_request(data)
        answer: object = Missing()
        if isinstance(request, GetGenesis):
            answer = GenesisBytes(encode_genesis(genesis()))
        elif isinstance(request, GetChunk):
            answer = self._chunks[request.root]
        twisted = self._twist(answer)
        return twisted if isinstance(twisted, bytes) else codec.encode(twisted)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> MemoryNetwork:
    made = MemoryNetwork()
    monkeypatch.setattr(joining, "make_transport", lambda _, **given: made.transport(**given))
    monkeypatch.setattr(joining, "ATTEMPTS", 1)
    return made


async def contact(network: MemoryNetwork, number: int, handler: Contact) -> Multiaddr:
    transport = network.transport(key=KEYS[number], chain_id=CHAIN, handler=handler)
    return Multiaddr("127.0.0.1", await transport.listen("127.0.0.1", 0))


async def test_genesis_and_model_come_from_the_first_contact_that_answers(network: MemoryNetwork) -> None:
    dead, alive = Multiaddr("127.0.0.1", 1), await contact(network, 1, Contact())
    assert await fetch_founding(KEYS[0], (dead, alive), CHAIN, "memory") == genesis()
    model = await fetch_initial_model(KEYS[0], (dead, alive), genesis())
    assert (model.root, model.exponents_root) == (initial_model().root, initial_model().exponents_root)
    assert not await offers_snapshot(KEYS[0], (dead, alive), genesis())


async def test_how_much_of_the_model_is_here_is_told(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_MS", 0)
    told: list[Progress] = []
    await fetch_initial_model(KEYS[0], (await contact(network, 1, Contact()),), genesis(), told.append)
    size = len(initial_model().weights_bytes()) + len(initial_model().exponents_bytes())
    assert told == [Progress(0, len(initial_model().weights_bytes()), size, "model")]


@pytest.mark.parametrize(
    "twist",
    [lambda _: Missing(), lambda _: b"\xc1", lambda a: a if isinstance(a, GenesisBytes) else Missing()],
    ids=["nothing", "garbage", "no model"],
)
async def test_a_contact_that_is_of_no_use_is_left_for_the_next(
    network: MemoryNetwork, twist: Callable[[object], object]
) -> None:
    useless, good = await contact(network, 1, Contact(twist)), await contact(network, 2, Contact())
    model = await fetch_initial_model(KEYS[0], (useless, good), genesis())
    assert model.root == genesis().model_root
    with pytest.raises(NoPeersError, match="could be asked"):
        await fetch_initial_model(KEYS[0], (useless,), genesis())


async def test_a_model_that_genesis_does_not_name_is_refused(network: MemoryNetwork) -> None:
    def twist(answer: object) -> object:
        return Chunk(1, bytes(32), ()) if isinstance(answer, Chunk) else answer

    with pytest.raises(LocalError, match="is not"):
        await fetch_initial_model(KEYS[0], (await contact(network, 1, Contact(twist)),), genesis())


async def test_a_joiner_that_is_asked_itself_has_nothing_and_keeps_its_pipe(network: MemoryNetwork) -> None:
    """Members ask whoever is connected for what they lack, before the joiner has anything."""
    asked: list[object] = []

    class Curious(Contact):
        async def serve(self, peer: bytes, data: bytes) -> bytes:
            answer = await member.request(peer, codec.encode(GetGenesis()), timeout_ms=1000)
            asked.append(decode_response(answer))
            return await super().serve(peer, data)

    member = network.transport(key=KEYS[1], chain_id=CHAIN, handler=Curious())
    address = Multiaddr("127.0.0.1", await member.listen("127.0.0.1", 0))
    assert await fetch_founding(KEYS[0], (address,), CHAIN, "memory") == genesis()
    assert asked == [Missing()]


async def test_without_an_address_nobody_is_waited_for(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "ATTEMPTS", 2)
    monkeypatch.setattr(joining, "PAUSE_MS", 3_600_000)
    with pytest.raises(NoPeersError, match="--join"):
        async with asyncio.timeout(10):
            await fetch_initial_model(KEYS[0], (), genesis())
