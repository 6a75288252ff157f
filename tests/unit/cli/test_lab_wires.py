"""A forwarder carries bytes both ways; a fault resets it, refuses it or holds its bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from p2pfed.cli.lab_wires import LOOPBACK, Wires
from p2pfed.runtime.demo.network import free_ports
from p2pfed.runtime.testnet import Pipe
from p2pfed.sim.faults import Fault, FaultKind

PORTS_FIRST = 23_000
WAIT_S = 30.0


class Clock:
    now_ms = -1

    def __call__(self) -> int:
        return self.now_ms


@asynccontextmanager
async def wired(clock: Clock, *faults: Fault):
    """Two peers that echo, number 1 dialling number 0; yields (the wires, the port to dial)."""
    port = free_ports(3, PORTS_FIRST)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    listener = await asyncio.start_server(echo, LOOPBACK, port)
    wires = Wires([Pipe(1, 0, port + 2)], [port, port + 1], faults, clock)
    async with listener, wires.up():
        yield wires, port + 2


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    return await asyncio.wait_for(reader.read(100), WAIT_S)


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the next byte; answer whether the connection ended instead."""
    try:
        return not await asyncio.wait_for(reader.read(1), WAIT_S)
    except ConnectionError:
        return True


async def is_refused(port: int) -> bool:
    """Answer whether a new connection is closed without a byte."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        return await ask(reader, writer, b"x") == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("kind", ["disconnect", "flapping"])
async def test_a_broken_pipe_is_reset_and_refused_until_the_fault_is_over(kind: FaultKind) -> None:
    clock = Clock()
    async with wired(clock, Fault(kind, 100, 200, (0,), amount=1_000)) as (wires, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await ask(reader, writer, b"before") == b"before"
        wires.tear()
        assert await ask(reader, writer, b"still") == b"still"
        clock.now_ms = 100
        wires.tear()
        assert await has_ended(reader)
        assert await is_refused(port)
        clock.now_ms = 200
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await ask(reader, writer, b"after") == b"after"
        writer.close()


@pytest.mark.parametrize("link", [(1, 0), (0, 1)])
async def test_what_is_held_in_one_direction_arrives_when_the_way_is_free(link: tuple[int, int]) -> None:
    clock = Clock()
    async with wired(clock, Fault("one_way", 0, 200, link)) as (wires, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await ask(reader, writer, b"free") == b"free"
        clock.now_ms = 0
        wires.tear()
        asking = asyncio.create_task(ask(reader, writer, b"held"))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
        clock.now_ms = 200
        assert await asking == b"held"
        writer.close()


async def test_a_pipe_ends_at_both_ends_and_one_without_a_listener_at_once() -> None:
    async with wired(Clock()) as (_, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"last words")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), WAIT_S) in (b"last words", b"")
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        assert await ask(reader, writer, b"open at the end") == b"open at the end"
    assert await has_ended(reader)
    ports = free_ports(3, PORTS_FIRST)
    async with Wires([Pipe(1, 0, ports)], [ports + 1, ports + 2], (), Clock()).up():
        assert await is_refused(ports)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOOPBACK, ports)
