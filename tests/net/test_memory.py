"""What only the memory network has to show: links that a test cuts and mends."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from p2pfed.net.limits import DEFAULT_LIMITS
from p2pfed.net.memory import MemoryNetwork, MemoryTransport
from p2pfed.net.transport import TransportError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr

CHAIN = bytes(32)


class Listener:
    """A handler that writes down what happens."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        self.log.append("inbound" if inbound else "dialled")

    def disconnected(self, peer: bytes, reason: str) -> None:
        self.log.append(reason)

    async def message(self, peer: bytes, data: bytes) -> None:
        self.log.append(data.decode())

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        return data


def _make(network: MemoryNetwork, number: int) -> tuple[MemoryTransport, Listener]:
    handler, limits = Listener(), replace(DEFAULT_LIMITS, silence_ms=50)
    key = PrivateKey(bytes((number,)) * 32)
    return network.transport(key=key, chain_id=CHAIN, handler=handler, limits=limits), handler


async def test_a_cut_link_ends_the_pipe_at_once_and_can_be_mended() -> None:
    network = MemoryNetwork()
    (first, heard_first), (second, heard_second) = _make(network, 1), _make(network, 2)
    address = Multiaddr("127.0.0.1", await first.listen("127.0.0.1", 0))
    await second.dial(address, timeout_ms=100)
    network.cut(second.public, first.public)
    assert heard_first.log == ["inbound", "the link was cut"]
    assert heard_second.log == ["dialled", "the link was cut"]
    with pytest.raises(TransportError, match="refused"):
        await second.dial(address, timeout_ms=100)
    network.mend(first.public, second.public)
    assert await second.dial(address, timeout_ms=100) == first.public
    await first.close()
    await second.close()


async def test_a_frozen_peer_hears_nothing_and_is_noticed() -> None:
    network = MemoryNetwork()
    (first, heard_first), (second, heard_second) = _make(network, 1), _make(network, 2)
    address = Multiaddr("127.0.0.1", await first.listen("127.0.0.1", 0))
    await second.dial(address, timeout_ms=100)
    network.freeze(first.public)
    assert second.send(first.public, b"into the void")
    with pytest.raises(TransportError, match="silent"):
        await second.request(first.public, b"x", timeout_ms=10_000)
    assert heard_second.log == ["dialled", "silent for 50 ms"]
    with pytest.raises(TransportError, match="10 ms"):
        await second.dial(address, timeout_ms=10)
    await first.close()
    await second.close()
    assert heard_first.log == ["inbound", "silent for 50 ms"]


async def test_two_runs_of_one_story_are_told_alike() -> None:
    async def story() -> list[str]:
        network = MemoryNetwork()
        peers = [_make(network, number) for number in (1, 2, 3)]
        ports = [await transport.listen("127.0.0.1", 0) for transport, _ in peers]
        dials = [
            transport.dial(Multiaddr("127.0.0.1", port), timeout_ms=100)
            for transport, _ in peers
            for port, (other, _) in zip(ports, peers, strict=True)
            if other is not transport
        ]
        await asyncio.gather(*dials)
        for transport, _ in peers:
            for number, other in enumerate(sorted(transport.peers())):
                transport.send(other, b"message %d" % number)
        for transport, _ in peers:
            await transport.close()
        return [line for _, handler in peers for line in [*handler.log, "-"]]

    first, second = await story(), await story()
    assert first == second
    assert "message 1" in first
