"""A world for each transport: peers with handlers that remember, links that go dead, peers to be killed.

A new transport joins the conformance suite by one entry in `WORLDS`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from support.transports import WITHOUT_SIDE, has_side_channel, lacks_side_channel, make_transport

from p2pfed.net.limits import DEFAULT_LIMITS, Limits
from p2pfed.net.memory import MemoryNetwork
from p2pfed.net.transport import Transport
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr

CHAIN = bytes(range(32))
DEADLINE_S = 20.0  # A test that waits longer has failed; the machine may be busy.
QUICK = replace(DEFAULT_LIMITS, handshake_ms=1_500, heartbeat_ms=200, silence_ms=1_500)


class Recorder:
    """A handler that remembers what it was told and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bytes]] = []  # ("connected" | "disconnected", peer), in order.
        self.reasons: list[str] = []
        self.messages: list[bytes] = []
        self.serving = self.serving_most = 0
        self.on_message: Callable[[bytes, bytes], Awaitable[None]] | None = None
        self.on_serve: Callable[[bytes, bytes], Awaitable[bytes]] | None = None
        self._changed = asyncio.Event()

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        assert (address is not None and address.public is None) if inbound else True
        self.events.append(("connected", peer))
        self._changed.set()

    def disconnected(self, peer: bytes, reason: str) -> None:
        assert reason
        self.events.append(("disconnected", peer))
        self.reasons.append(reason)
        self._changed.set()

    async def message(self, peer: bytes, data: bytes) -> None:
        if self.on_message is not None:
            await self.on_message(peer, data)
        self.messages.append(data)
        self._changed.set()

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        self.serving += 1
        self.serving_most = max(self.serving, self.serving_most)
        self._changed.set()
        try:
            return await self.on_serve(peer, data) if self.on_serve is not None else b"answer to " + data
        finally:
            self.serving -= 1

    async def until(self, holds: Callable[[], object]) -> None:
        """Return as soon as `holds()`; it is asked again whenever something happened here."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def parted(self) -> str:
        """Return the first reason of a disconnection."""
        await self.until(lambda: self.reasons)
        return self.reasons[0]

    def connections(self, peer: bytes) -> list[str]:
        """Return the peer's events; they must alternate, and begin with "connected"."""
        kinds = [kind for kind, other in self.events if other == peer]
        assert kinds == ["connected", "disconnected"] * (len(kinds) // 2) + ["connected"] * (len(kinds) % 2)
        return kinds


class Peer:
    """A transport with its recorder."""

    def __init__(self, world: World, key: PrivateKey, transport: Transport, handler: Recorder) -> None:
        self.world = world
        self.public = key.public
        self.transport = transport
        self.handler = handler
        self.port = 0

    @property
    def address(self) -> Multiaddr:
        return Multiaddr("127.0.0.1", self.port, self.public)

    async def dial(self, other: Peer | Multiaddr, timeout_ms: int = 10_000) -> bytes:
        address = other if isinstance(other, Multiaddr) else other.address
        dialled = await self.transport.dial(address, timeout_ms=timeout_ms)
        await self.world.settle(self, dialled)
        return dialled

    async def ask(self, other: bytes, data: bytes = b"question", timeout_ms: int = 20_000) -> bytes:
        return await self.transport.request(other, data, timeout_ms=timeout_ms)


class World:
    """Peers of one transport; closes them all in the end, and fails where the loop saw a bug."""

    has_sockets = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: list[Peer] = []
        self.errors: list[dict[str, object]] = []
        self._links: list[_Link] = []
        self._strangers: list[asyncio.subprocess.Process] = []
        self.failed = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(self._note_error)

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.errors.append(context)
        self.failed.set()

    def key(self, number: int) -> PrivateKey:
        return PrivateKey(bytes((number,)) * 32)

    def make(self, key: PrivateKey, chain_id: bytes, handler: Recorder, limits: Limits) -> Transport:
        return make_transport(self.name, key=key, chain_id=chain_id, handler=handler, limits=limits)

    async def peer(
        self,
        number: int,
        *,
        chain_id: bytes = CHAIN,
        limits: Limits = QUICK,
        port: int | None = 0,
        host: str = "127.0.0.1",
    ) -> Peer:
        """Return a peer that listens on `host` (unless `port` is None)."""
        handler = Recorder()
        peer = Peer(self, self.key(number), self.make(self.key(number), chain_id, handler, limits), handler)
        self.peers.append(peer)
        if port is not None:
            peer.port = await peer.transport.listen(host, port)
        return peer

    async def pair(self, *, limits: Limits = QUICK) -> tuple[Peer, Peer]:
        """Return two peers with a pipe between them, dialled by the second."""
        first, second = await self.peer(1, limits=limits), await self.peer(2, limits=limits)
        await second.dial(first)
        await first.handler.until(first.transport.peers)
        return first, second

    async def settle(self, dialler: Peer, dialled: bytes) -> None:
        """Return when bulk between the two goes the way that it will go."""

    async def dead_link(self, listener: Peer) -> tuple[Multiaddr, Callable[[], None]]:
        """Return an address that leads to `listener`, and what makes that way swallow everything."""
        link = _Link(listener.port)
        self._links.append(link)
        return Multiaddr("127.0.0.1", await link.listen(), listener.public), link.freeze

    async def stranger(self, number: int) -> SimpleNamespace:
        """Return a peer of another process: its address, `kill` and `stop`."""
        program = Path(__file__).with_name("stranger.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(program), self.name, self.key(number).secret.hex(), CHAIN.hex(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{program.parents[2]}:{program.parents[1]}"},
        )  # fmt: skip
        self._strangers.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            port = int(await process.stdout.readline())
        return SimpleNamespace(
            address=Multiaddr("127.0.0.1", port, self.key(number).public),
            kill=process.kill,
            stop=lambda: process.send_signal(signal.SIGSTOP),
        )

    async def close(self) -> None:
        for process in self._strangers:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        for peer in self.peers:
            async with asyncio.timeout(DEADLINE_S):
                await peer.transport.close()
        for link in self._links:
            await link.close()
        assert not self.errors, self.errors


class SideWorld(World):
    """Peers on libp2p; a test begins when their side channels are open."""

    async def settle(self, dialler: Peer, dialled: bytes) -> None:
        await until(lambda: has_side_channel(dialler.transport, dialled))
        for peer in self.peers:
            if peer.public == dialled:
                await until(lambda peer=peer: has_side_channel(peer.transport, dialler.public))  # type: ignore[misc]


class NoSideWorld(World):
    """Peers on libp2p; a test begins when they know that they get no side channel."""

    async def settle(self, dialler: Peer, dialled: bytes) -> None:
        await until(lambda: lacks_side_channel(dialler.transport, dialled))


async def until(holds: Callable[[], bool]) -> None:
    """Return soon after `holds()`."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what a transport keeps to itself has no event
            await asyncio.sleep(0.001)


class MemoryWorld(World):
    """Peers of one MemoryNetwork; killing and freezing are the network's."""

    has_sockets = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.network = MemoryNetwork()

    def make(self, key: PrivateKey, chain_id: bytes, handler: Recorder, limits: Limits) -> Transport:
        return self.network.transport(key=key, chain_id=chain_id, handler=handler, limits=limits)

    async def dead_link(self, listener: Peer) -> tuple[Multiaddr, Callable[[], None]]:
        return listener.address, lambda: self.network.freeze(listener.public)

    async def stranger(self, number: int) -> SimpleNamespace:
        peer = await self.peer(number)

        async def serve(_: bytes, data: bytes) -> bytes:
            if data == b"hang":
                await asyncio.Event().wait()
            return data

        async def echo(sender: bytes, data: bytes) -> None:
            peer.transport.send(sender, data)

        peer.handler.on_serve, peer.handler.on_message = serve, echo

        def kill() -> None:
            for other in list(peer.transport.peers()):
                self.network.cut(peer.public, other)

        return SimpleNamespace(address=peer.address, kill=kill, stop=lambda: self.network.freeze(peer.public))


class _Link:
    """A TCP relay that can swallow everything: what a pulled cable or a dead NAT entry looks like."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_frozen = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._is_frozen = True

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for way in (self._carry(reader, far_writer), self._carry(far_reader, writer)):
            self._tasks.add(asyncio.create_task(way))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                if not self._is_frozen:
                    writer.write(data)
                    await writer.drain()
            if not self._is_frozen:
                writer.close()
            else:
                await asyncio.Event().wait()
        except OSError:
            pass
        finally:
            writer.transport.abort()


WORLDS: dict[str, type[World]] = {"memory": MemoryWorld, "tcp": World}
if find_spec("libp2p") is not None:
    WORLDS |= {"libp2p": SideWorld, WITHOUT_SIDE: NoSideWorld}


@pytest.fixture(params=sorted(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every transport."""
    made = WORLDS[request.param](request.param)
    yield made
    await made.close()


@pytest.fixture(params=sorted(name for name, kind in WORLDS.items() if kind.has_sockets))
async def socket_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every transport that listens on a port."""
    made = WORLDS[request.param](request.param)
    yield made
    await made.close()


@pytest.fixture
async def side_world() -> AsyncIterator[World]:
    """The libp2p transport with side channels alone."""
    pytest.importorskip("libp2p", reason="needs the extra p2pfed[libp2p]")
    made = SideWorld("libp2p")
    yield made
    await made.close()


@pytest.fixture
async def tcp_world() -> AsyncIterator[World]:
    """The tcp transport alone, for what only its frames can show."""
    made = World("tcp")
    yield made
    await made.close()
