"""The side channel of libp2p: what goes over it, who gets none, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

pytest.importorskip("libp2p", reason="needs the extra p2pfed[libp2p]")

from p2pfed.net.libp2p.frames import TOKEN_BYTES
from p2pfed.net.limits import DEFAULT_LIMITS
from p2pfed.net.tcp.certificate import dialer_context
from p2pfed.net.tcp.frames import Frame, Kind, frame, read_frame
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.transport import TransportError

World = Any  # tests/net/conftest.py
QUICK = replace(DEFAULT_LIMITS, handshake_ms=1_500, heartbeat_ms=200, silence_ms=1_500)


class Knocker:
    """Somebody who speaks TLS to the port of a peer."""

    def __init__(self) -> None:
        self.stream = Stream()

    async def knock(self, port: int, said: bytes) -> Frame:
        """Say something and return the first answer."""
        await self.stream.dial("127.0.0.1", port, dialer_context(), QUICK)
        await self.stream.write(said)
        async with asyncio.timeout(10):
            return await read_frame(self.stream.reader)


@pytest.fixture
async def knocker() -> AsyncIterator[Knocker]:
    made = Knocker()
    yield made
    await made.stream.abort()


def side(peer: Any, other: Any) -> Any:
    return peer.transport._pipes[other.public].side


def forbid_streams(peer: Any, other: Any) -> None:
    """Let no request of `peer` go over libp2p."""

    async def forbidden(_: bytes) -> bytes:
        raise AssertionError("a request went over libp2p")

    peer.transport._pipes[other.public].connection.request = forbidden


async def test_requests_of_both_ends_go_over_it(side_world: World) -> None:
    first, second = await side_world.pair()
    forbid_streams(first, second)
    forbid_streams(second, first)
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert await first.ask(second.public, b"y") == b"answer to y"


async def test_it_opens_to_the_port_of_the_pipe_over_ipv6_too(side_world: World) -> None:
    first, second = await side_world.peer(1, host="::"), await side_world.peer(2, port=None)
    await second.dial(replace(first.address, host="::1"))
    forbid_streams(second, first)
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert side(second, first)._pipe.address.port == first.port


async def test_where_it_is_not_reached_bulk_goes_over_the_pipe_and_one_line_says_so(
    side_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await side_world.peer(1), await side_world.peer(2)
    first.transport.accepted_tls = lambda sock, _: sock.close()
    await second.transport.dial(first.address, timeout_ms=10_000)
    first.handler.on_serve = lambda _, data: _soon(data * 1000)
    for number in range(20):
        assert await second.ask(first.public, b"%d" % number) == b"%d" % number * 1000
    lines = await warnings(caplog)
    assert len(lines) == 1
    assert "bulk goes over libp2p" in lines[0]
    assert not second.handler.reasons


async def test_a_way_that_swallows_it_holds_up_neither_requests_nor_the_end(side_world: World) -> None:
    first, second = await side_world.peer(1), await side_world.peer(2, limits=DEFAULT_LIMITS)
    swallowed: list[socket.socket] = []
    knocked = asyncio.Event()

    def swallow(sock: socket.socket, _: Any) -> None:
        swallowed.append(sock)
        knocked.set()

    first.transport.accepted_tls = swallow
    await second.transport.dial(first.address, timeout_ms=10_000)
    await knocked.wait()
    assert await second.ask(first.public, b"x") == b"answer to x"
    async with asyncio.timeout(DEFAULT_LIMITS.handshake_ms / 2000):
        await second.transport.close()
    for sock in swallowed:
        sock.close()


async def test_a_token_that_was_not_offered_is_refused_and_disturbs_nobody(
    side_world: World, knocker: Knocker
) -> None:
    first, second = await side_world.pair()
    answer = await knocker.knock(first.port, frame(Kind.PROOF, bytes(TOKEN_BYTES)))
    assert answer.kind is Kind.GOODBYE
    assert b"not offered" in answer.data
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert not first.handler.reasons


async def test_a_token_is_good_once(side_world: World, knocker: Knocker) -> None:
    first = await side_world.peer(1)
    second = await side_world.peer(2)
    tokens: list[bytes] = []
    offer = first.transport._side_door.offer

    def listen_in(channel: Any) -> bytes:
        tokens.append(offer(channel)[:TOKEN_BYTES])
        return tokens[0] + offer(channel)[TOKEN_BYTES:]

    first.transport._side_door.offer = listen_in
    await second.dial(first)
    assert (await knocker.knock(first.port, frame(Kind.PROOF, tokens[0]))).kind is Kind.GOODBYE
    assert await second.ask(first.public, b"x") == b"answer to x"


async def test_a_token_is_void_when_its_pipe_has_ended(side_world: World, knocker: Knocker) -> None:
    first, second = await side_world.peer(1), await side_world.peer(2)
    swallow = first.transport.accepted_tls
    first.transport.accepted_tls = lambda sock, _: sock.close()
    await second.transport.dial(first.address, timeout_ms=10_000)
    await first.handler.until(first.transport.peers)
    (token,) = first.transport._side_door._offered
    second.transport.disconnect(first.public, "enough")
    await first.handler.parted()
    first.transport.accepted_tls = swallow
    assert (await knocker.knock(first.port, frame(Kind.PROOF, token))).kind is Kind.GOODBYE


@pytest.mark.parametrize("said", [frame(Kind.CONTROL, b"x"), frame(Kind.REQUEST, b"x", 1), frame(Kind.ALIVE)])
async def test_nothing_is_heard_before_a_token(side_world: World, knocker: Knocker, said: bytes) -> None:
    first = await side_world.peer(1)
    answer = await knocker.knock(first.port, said)
    assert answer.kind is Kind.GOODBYE
    assert b"libp2p" in answer.data
    assert not first.handler.serving_most


async def test_no_token_is_shown_to_another_certificate(side_world: World) -> None:
    """He who sits in the middle of the new connection, and can't see what the pipe says."""
    first, second = await side_world.peer(1), await side_world.peer(2)
    offer = first.transport._side_door.offer
    first.transport._side_door.offer = lambda channel: offer(channel)[:TOKEN_BYTES] + os.urandom(32)
    await second.transport.dial(first.address, timeout_ms=10_000)
    assert await second.ask(first.public, b"x") == b"answer to x"
    failed = side(second, first)
    async with asyncio.timeout(10):
        while not failed.has_failed:  # noqa: ASYNC110 - what a transport keeps to itself has no event
            await asyncio.sleep(0.001)
    assert "another certificate" in failed._telling._args[0]
    assert len(first.transport._side_door._offered) == 1


async def test_an_answer_that_breaks_off_is_asked_for_again_over_the_pipe(
    side_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await side_world.pair()
    released, asked_for = asyncio.Event(), []

    async def serve(_: bytes, data: bytes) -> bytes:
        asked_for.append(data)
        await released.wait()
        return bytes(8 << 20)

    first.handler.on_serve = serve
    waiting = asyncio.ensure_future(second.ask(first.public, b"big"))
    await first.handler.until(lambda: asked_for)
    broken = side(second, first)._pipe
    accept = broken._accept_answer

    def break_off(received: Frame) -> None:
        accept(received)
        broken._stream._transport.abort()

    broken._accept_answer = break_off
    released.set()
    assert await waiting == bytes(8 << 20)
    assert asked_for == [b"big", b"big"]
    assert len(await warnings(caplog)) == 2  # One at each end.
    assert not first.handler.reasons + second.handler.reasons
    assert await first.ask(second.public, b"y") == b"answer to y"


async def test_what_a_peer_refuses_is_not_asked_twice(side_world: World) -> None:
    first, second = await side_world.pair()
    asked_for = []

    async def refuse(_: bytes, data: bytes) -> bytes:
        asked_for.append(data)
        raise TransportError("busy")

    first.handler.on_serve = refuse
    with pytest.raises(TransportError, match="busy"):
        await second.ask(first.public, b"x")
    assert asked_for == [b"x"]
    assert side(second, first).is_open


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        pytest.param(frame(Kind.CONTROL, b"vote"), "control message on the side", id="a control message"),
        pytest.param(
            b"".join(frame(Kind.REQUEST, b"x", i) for i in range(1, 18)), "16 requests", id="17 requests"
        ),
        pytest.param(b"\x04\x00\x00\x00\x01\xff\xff\xff\xff", "4294967295 bytes", id="a request of 4 GiB"),
    ],
)
async def test_a_fault_on_it_ends_the_pipe(side_world: World, said: bytes, fault: str) -> None:
    first, second = await side_world.pair()
    first.handler.on_serve = lambda _, __: asyncio.Event().wait()
    await side(second, first)._pipe._stream.write(said)
    assert fault in await first.handler.parted()
    await second.handler.parted()
    assert not first.transport.peers()


async def test_it_ends_with_its_pipe(side_world: World) -> None:
    first, second = await side_world.pair()
    pipes = [side(first, second)._pipe, side(second, first)._pipe]
    second.transport.disconnect(first.public, "enough")
    await first.handler.parted()
    async with asyncio.timeout(10):
        await asyncio.gather(*(pipe._stream.reader.closed for pipe in pipes))


async def test_a_new_pipe_gets_a_new_one(side_world: World) -> None:
    first, second = await side_world.pair()
    former = side(second, first)
    await second.dial(first)
    assert side(second, first) is not former
    forbid_streams(second, first)
    assert await second.ask(first.public, b"x") == b"answer to x"


async def test_strangers_of_one_address_are_counted(side_world: World) -> None:
    first, second = await side_world.pair(limits=replace(QUICK, pipes_per_address=3))
    door = first.transport._side_door._doorkeeper
    knocking = [await asyncio.open_connection("127.0.0.1", first.port) for _ in range(2)]
    for _, writer in knocking:
        writer.write(b"\x16")
    async with asyncio.timeout(10):
        while len(door._tasks) < 3:  # noqa: ASYNC110 - the channel of the pair is one of them
            await asyncio.sleep(0.001)
    reader, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.write(b"\x16")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(ConnectionError):
        assert await reader.read() == b""
    assert loop.time() - began < QUICK.handshake_ms / 2000  # Not as who says no more.
    for _, each in [*knocking, (reader, writer)]:
        each.transport.abort()
    assert await second.ask(first.public, b"x") == b"answer to x"


async def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of when time for it has passed."""
    await asyncio.sleep(QUICK.silence_ms / 1000 + 0.3)
    return [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]


async def _soon(value: Any) -> Any:
    return value
