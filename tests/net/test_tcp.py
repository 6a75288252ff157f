"""What only tcp has to show: strangers who know its frames, its hello, and the two first bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from support.sockets import needs_ipv6

from p2pfed.errors import LocalError
from p2pfed.net.limits import BULK_PIECE_BYTES, BULK_PIECE_BYTES_MAX, DEFAULT_LIMITS, PROTOCOL_VERSION
from p2pfed.net.tcp.certificate import dialer_context, listener_context
from p2pfed.net.tcp.dialer import TLS_FIRST_BYTE
from p2pfed.net.tcp.frames import HEADER_BYTES, Frame, Kind, frame, read_frame
from p2pfed.net.tcp.hello import Hello, Transcript, prove
from p2pfed.net.tcp.listener import open_listener
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.tcp.transport import TcpTransport
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import RESPONSE_BYTES_MAX

World = Any  # tests/net/conftest.py
CHAIN = bytes(range(32))
QUICK = replace(DEFAULT_LIMITS, handshake_ms=1_500, heartbeat_ms=200, silence_ms=1_500)
LIAR = PrivateKey(b"\x77" * 32)


class Liar:
    """A stranger who dials, proves its key as the protocol wants it, and then writes what it likes."""

    def __init__(self) -> None:
        self.stream = Stream()

    async def dial(self, port: int, **changes: Any) -> None:
        """Say hello; `changes` replace fields of it."""
        await self.connect(port)
        said = msgspec.structs.replace(hello_of(LIAR), **changes)
        await self.write(frame(Kind.HELLO, codec.encode(said)))
        theirs = codec.decode((await self.read(Kind.HELLO)).data, Hello, 512)
        certificate = sha256(self.stream.certificate())
        await self.write(frame(Kind.PROOF, prove(LIAR, Transcript("dialer", said, theirs, certificate))))
        await self.read(Kind.PROOF)

    async def connect(self, port: int) -> None:
        await self.stream.dial("127.0.0.1", port, dialer_context(), QUICK)

    async def write(self, data: bytes) -> None:
        await self.stream.write(data)

    async def read(self, kind: Kind) -> Frame:
        """Return the next frame of `kind`; others but a goodbye are passed over."""
        async with asyncio.timeout(10):
            while (received := await read_frame(self.stream.reader)).kind is not kind:
                assert received.kind is not Kind.GOODBYE, received.data
        return received


def hello_of(key: PrivateKey, chain_id: bytes = CHAIN) -> Hello:
    return Hello(PROTOCOL_VERSION, chain_id, key.public, os.urandom(32), os.urandom(16), 1)


async def test_small_messages_that_wait_leave_together(tcp_world: World) -> None:
    first, second = await tcp_world.pair()
    assert isinstance(first.transport, TcpTransport)
    pipe = first.transport._pipes[second.public]
    written: list[int] = []
    write = pipe._stream.write

    async def count(data: bytes) -> None:
        written.append(len(data))
        await write(data)

    pipe._stream.write = count  # type: ignore[method-assign]
    said = [b"%d" % number * 900 for number in range(100)]
    for data in said:
        assert first.transport.send(second.public, data)
    await second.handler.until(lambda: len(second.handler.messages) == len(said))
    assert second.handler.messages == said
    assert max(written) <= BULK_PIECE_BYTES
    assert len([size for size in written if size > HEADER_BYTES]) == 3  # Of 172 kB; a heartbeat is smaller.


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    yield made
    await made.stream.abort()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        pytest.param(frame(Kind.PIECE, b"x", 7), "request 7", id="an answer nobody asked for"),
        pytest.param(frame(Kind.LAST_PIECE, b"x", 7), "request 7", id="a last piece nobody asked for"),
        pytest.param(frame(Kind.FAILED, b"x", 7), "request 7", id="a refusal nobody asked for"),
        pytest.param(b"\x63" + bytes(8), "unknown kind 99", id="an unknown kind"),
        pytest.param(bytes(9), "unknown kind 0", id="zeros"),
        pytest.param(frame(Kind.HELLO, b"x"), "second hello", id="a second hello"),
        pytest.param(frame(Kind.PROOF, b"x"), "second hello", id="a second proof"),
        pytest.param(frame(Kind.ALIVE, b"", 3), "id 3", id="an id where none belongs"),
        pytest.param(
            b"\x03\x00\x00\x00\x00" + (CONTROL_BYTES_MAX + 1).to_bytes(4, "big"),
            f"{CONTROL_BYTES_MAX + 1} bytes",
            id="a control message beyond the limit",
        ),
        pytest.param(b"\x04\x00\x00\x00\x01\xff\xff\xff\xff", "4294967295 bytes", id="a request of 4 GiB"),
        pytest.param(
            b"\x06\x00\x00\x00\x01" + (BULK_PIECE_BYTES_MAX + 1).to_bytes(4, "big"),
            "262145 bytes",
            id="a long piece",
        ),
    ],
)
async def test_a_frame_that_no_honest_peer_sends_ends_that_pipe_alone(
    tcp_world: World, liar: Liar, said: bytes, fault: str
) -> None:
    first, second = await tcp_world.pair()
    await liar.dial(first.port)
    await first.handler.until(lambda: LIAR.public in first.transport.peers())
    await liar.write(said)
    assert fault in await first.handler.parted()
    assert fault.encode() in (await liar.read(Kind.GOODBYE)).data
    assert list(first.transport.peers()) == [second.public]
    assert await second.ask(first.public, b"x") == b"answer to x"


async def test_a_seventeenth_request_in_flight_ends_the_pipe(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    peer.handler.on_serve = lambda _, __: asyncio.Event().wait()
    await liar.dial(peer.port)
    for number in range(1, QUICK.requests_in_flight + 1):
        await liar.write(frame(Kind.REQUEST, b"x", number))
    await liar.write(frame(Kind.CONTROL, b"sixteen are allowed"))
    await peer.handler.until(lambda: peer.handler.messages)
    await liar.write(frame(Kind.REQUEST, b"x", 17))
    assert "more than 16 requests" in await peer.handler.parted()
    assert peer.handler.serving_most == 1  # One after the other, so that what waits to be read is bounded.


async def test_answered_requests_are_no_longer_in_flight(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    await liar.dial(peer.port)
    for number in range(1, 3 * QUICK.requests_in_flight):
        await liar.write(frame(Kind.REQUEST, b"x", number))
        assert (await liar.read(Kind.LAST_PIECE)).id == number
    assert not peer.handler.reasons


async def test_an_answer_that_never_ends_is_cut_off(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    await liar.dial(peer.port)
    await peer.handler.until(peer.transport.peers)
    asked = asyncio.ensure_future(peer.ask(LIAR.public))
    number = (await liar.read(Kind.REQUEST)).id
    for _ in range(RESPONSE_BYTES_MAX // BULK_PIECE_BYTES):
        await liar.write(frame(Kind.PIECE, bytes(BULK_PIECE_BYTES), number))
    assert not asked.done()
    await liar.write(frame(Kind.LAST_PIECE, b"x", number))
    with pytest.raises(TransportError, match=f"more than {RESPONSE_BYTES_MAX} bytes"):
        await asked


async def test_an_empty_piece_is_refused_so_that_an_answer_makes_progress(
    tcp_world: World, liar: Liar
) -> None:
    peer = await tcp_world.peer(1)
    await liar.dial(peer.port)
    await peer.handler.until(peer.transport.peers)
    asked = asyncio.ensure_future(peer.ask(LIAR.public))
    number = (await liar.read(Kind.REQUEST)).id
    await liar.write(frame(Kind.PIECE, b"", number))
    with pytest.raises(TransportError, match="empty piece"):
        await asked


async def test_an_answer_is_taken_once(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    await liar.dial(peer.port)
    await peer.handler.until(peer.transport.peers)
    asked = asyncio.ensure_future(peer.ask(LIAR.public))
    number = (await liar.read(Kind.REQUEST)).id
    await liar.write(frame(Kind.LAST_PIECE, b"yes", number))
    assert await asked == b"yes"
    await liar.write(frame(Kind.LAST_PIECE, b"no", number))
    assert "waits for none" in await peer.handler.parted()


async def test_a_peer_that_leaves_every_request_unanswered_is_let_go(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1, limits=replace(QUICK, requests_in_flight=2, silence_ms=60_000))
    await liar.dial(peer.port)
    await peer.handler.until(peer.transport.peers)
    for _ in range(2):
        assert not peer.handler.reasons
        with pytest.raises(TransportError, match="20 ms"):
            await peer.ask(LIAR.public, timeout_ms=20)
    assert await peer.handler.parted() == "left 2 requests unanswered"


async def test_a_peer_that_reads_nothing_is_let_go_though_it_says_that_it_is_alive(
    tcp_world: World, liar: Liar
) -> None:
    peer = await tcp_world.peer(1, limits=replace(QUICK, heartbeat_ms=50, silence_ms=60_000, stall_ms=500))
    peer.handler.on_serve = lambda _, __: _soon(bytes(8 << 20))
    await liar.dial(peer.port)
    for number in range(1, 9):
        await liar.write(frame(Kind.REQUEST, b"x", number))
    assert "none of our bytes" in await peer.handler.parted()


async def test_what_waits_for_a_slow_reader_is_bounded(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1, limits=replace(QUICK, silence_ms=60_000, bulk_queue_bytes=1 << 20))
    served: list[bytes] = []

    async def serve(_: bytes, data: bytes) -> bytes:
        served.append(data)
        return bytes(8 << 20)

    peer.handler.on_serve = serve
    await liar.dial(peer.port)
    for number in range(1, 9):
        await liar.write(frame(Kind.REQUEST, b"x", number))
    await liar.write(frame(Kind.CONTROL, b"all asked"))
    await peer.handler.until(lambda: served and peer.handler.messages)
    for _ in range(20):  # Let it run on: nothing else is served while the first answers wait.
        await liar.write(frame(Kind.CONTROL, b"more"))
    await peer.handler.until(lambda: len(peer.handler.messages) == 21)
    assert len(served) <= 2


@pytest.mark.parametrize("kind", [Kind.CONTROL, Kind.REQUEST, Kind.ALIVE, Kind.PROOF])
async def test_nothing_is_heard_before_the_hello(tcp_world: World, liar: Liar, kind: Kind) -> None:
    peer = await tcp_world.peer(1)
    await liar.connect(peer.port)
    await liar.write(frame(kind))
    assert b"HELLO" in (await liar.read(Kind.GOODBYE)).data
    assert not peer.handler.events


async def test_another_protocol_version_is_named_at_both_ends(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    with pytest.raises(AssertionError, match=f"version 9, this peer {PROTOCOL_VERSION}"):
        await liar.dial(peer.port, version=9)
    assert not peer.handler.events


async def test_a_hello_with_bytes_that_are_no_key_is_refused(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    with pytest.raises(AssertionError, match="no point of the curve"):
        await liar.dial(peer.port, key=b"\x02" + b"\xff" * 32)
    assert not peer.handler.events


async def test_a_key_that_is_claimed_and_not_proved_is_refused(tcp_world: World, liar: Liar) -> None:
    first, second = await tcp_world.pair()
    with pytest.raises(AssertionError, match="did not prove"):
        await liar.dial(first.port, key=second.public)
    assert not first.handler.reasons
    assert await second.ask(first.public, b"x") == b"answer to x"


async def test_a_man_in_the_middle_is_found_by_the_certificate(tcp_world: World) -> None:
    """He ends TLS on both sides and passes every frame on unchanged: the ends have seen two certificates."""
    first, second = await tcp_world.peer(1), await tcp_world.peer(2)
    context, _ = listener_context()
    ways: list[asyncio.Task[None]] = []

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
        sink.transport.abort()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", first.port, ssl=dialer_context())
        ways.extend(
            asyncio.ensure_future(way) for way in (carry(reader, far_writer), carry(far_reader, writer))
        )

    server = await asyncio.start_server(between, "127.0.0.1", 0, ssl=context)
    with pytest.raises(TransportError, match="did not prove"):
        await second.dial(Multiaddr("127.0.0.1", server.sockets[0].getsockname()[1], first.public))
    server.close()
    await asyncio.gather(*ways, return_exceptions=True)
    assert not first.handler.events
    assert not second.handler.events


async def test_a_listener_that_does_not_prove_its_key_is_refused(tcp_world: World) -> None:
    peer = await tcp_world.peer(2)
    context, _ = listener_context()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(Kind.HELLO, codec.encode(hello_of(LIAR))))
        await read_frame(reader)
        await read_frame(reader)
        writer.write(frame(Kind.PROOF, bytes(64)))
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0, ssl=context)
    with pytest.raises(TransportError, match="did not prove"):
        await peer.dial(Multiaddr("127.0.0.1", server.sockets[0].getsockname()[1]))
    server.close()
    assert not peer.handler.events


async def test_a_replayed_hello_and_proof_are_worth_nothing(tcp_world: World, liar: Liar) -> None:
    """The listener's nonce is new each time, so a proof serves one connection."""
    peer = await tcp_world.peer(1)
    said = hello_of(LIAR)
    await liar.connect(peer.port)
    await liar.write(frame(Kind.HELLO, codec.encode(said)))
    theirs = codec.decode((await liar.read(Kind.HELLO)).data, Hello, 512)
    proof = prove(LIAR, Transcript("dialer", said, theirs, sha256(liar.stream.certificate())))
    again = Liar()
    await again.connect(peer.port)
    await again.write(frame(Kind.HELLO, codec.encode(said)) + frame(Kind.PROOF, proof))
    assert b"did not prove" in (await again.read(Kind.GOODBYE)).data
    await again.stream.abort()


async def test_an_earlier_dial_that_arrives_late_does_not_replace_a_later_one(
    tcp_world: World, liar: Liar
) -> None:
    """Or else each end might keep the pipe that the other one closes."""
    peer, late, life = await tcp_world.peer(1), Liar(), os.urandom(16)
    await liar.dial(peer.port, process=life, dial=2)
    await peer.handler.until(peer.transport.peers)
    await late.dial(peer.port, process=life, dial=1)
    assert b"another pipe" in (await late.read(Kind.GOODBYE)).data
    await late.stream.abort()
    assert await _round_trip(peer, liar)
    newer = Liar()
    await newer.dial(peer.port, process=life, dial=3)
    await peer.handler.parted()
    assert await _round_trip(peer, newer)
    await newer.stream.abort()


async def _ended(liar: Liar) -> bool:
    with pytest.raises(asyncio.IncompleteReadError) as over:
        await liar.stream.reader.readexactly(1)
    return over.value.partial == b""


async def test_a_dialer_who_stops_amid_the_hello_is_closed_in_time(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    await liar.connect(peer.port)
    await liar.read(Kind.HELLO)
    async with asyncio.timeout(10):
        assert await _ended(liar)
    assert not peer.handler.events


async def test_one_address_holds_no_more_than_its_share_of_pipes(tcp_world: World) -> None:
    peer = await tcp_world.peer(1, limits=replace(QUICK, pipes_per_address=2, handshake_ms=60_000))
    held = [await asyncio.open_connection("127.0.0.1", peer.port) for _ in range(2)]
    dialer = await tcp_world.peer(2)
    with pytest.raises(TransportError):
        await dialer.dial(peer)
    held[0][1].transport.abort()
    async with asyncio.timeout(10):
        while not dialer.transport.peers():
            try:
                await dialer.dial(peer)
            except TransportError:
                continue
    held[1][1].transport.abort()


async def test_who_dials_again_and_again_is_closed_unheard(tcp_world: World) -> None:
    peer = await tcp_world.peer(1, limits=replace(QUICK, handshakes_per_second=1, handshakes_at_once=4))
    for _ in range(4):
        _, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.transport.abort()
    dialer = await tcp_world.peer(2)
    with pytest.raises(TransportError):
        await dialer.dial(peer)
    assert await peer.dial(dialer) == dialer.public  # It is only not listened to.


async def test_a_key_that_was_sent_away_is_not_greeted_again_at_once(tcp_world: World) -> None:
    peer, dialer = await tcp_world.peer(1), await tcp_world.peer(2)
    await dialer.dial(peer)
    peer.transport.disconnect(dialer.public, "banned")
    await dialer.handler.until(lambda: not dialer.transport.peers())
    with pytest.raises(TransportError, match="a moment ago"):
        await dialer.dial(peer)
    assert await peer.dial(dialer) == dialer.public  # Whom we dial ourselves we want.


async def test_strangers_who_fill_the_inbound_pipes_are_closed_and_can_not_keep_us_from_dialling(
    tcp_world: World,
) -> None:
    full = await tcp_world.peer(1, limits=replace(QUICK, pipes=1))
    second, third = await tcp_world.peer(2), await tcp_world.peer(3)
    await second.dial(full)
    with pytest.raises(TransportError):
        await third.dial(full)
    assert await full.dial(third) == third.public
    with pytest.raises(TransportError, match="1 dialled pipes are open"):
        await full.dial(await tcp_world.peer(4))
    assert sorted(full.transport.peers()) == sorted((second.public, third.public))


async def test_a_libp2p_dialer_is_told_both_transports(tcp_world: World) -> None:
    peer = await tcp_world.peer(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
    writer.write(b"\x13/multistream/1.0.0\n")
    async with asyncio.timeout(10):
        sentence = await reader.read()
    writer.close()
    assert b"tcp" in sentence
    assert b"libp2p" in sentence
    assert sentence[:1] != b"\x13"


async def test_a_port_that_speaks_libp2p_is_named(tcp_world: World) -> None:
    peer = await tcp_world.peer(1)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x13/multistream/1.0.0\n")
        await reader.read(64)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TransportError) as caught:
        await peer.dial(Multiaddr("127.0.0.1", port))
    server.close()
    assert str(caught.value) == f"127.0.0.1:{port} speaks libp2p, this network tcp"


async def test_a_port_that_speaks_neither_is_named(tcp_world: World) -> None:
    peer = await tcp_world.peer(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TransportError, match=f"127.0.0.1:{port} does not speak this network's tcp"):
        await peer.dial(Multiaddr("127.0.0.1", port))
    server.close()


async def test_a_port_that_says_nothing_ends_the_dial_at_its_deadline(tcp_world: World) -> None:
    peer = await tcp_world.peer(1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TransportError, match="within 300 ms"),
    ):
        await peer.dial(Multiaddr("127.0.0.1", silent.getsockname()[1]), timeout_ms=300)


async def test_an_older_tls_is_refused(tcp_world: World) -> None:
    peer = await tcp_world.peer(1)
    context = dialer_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", peer.port, ssl=context)


async def test_our_own_bug_in_a_handler_reaches_the_loop_and_closes_the_pipe(tcp_world: World) -> None:
    first, second = await tcp_world.pair()

    async def fail(_: bytes, __: bytes) -> None:
        raise FileNotFoundError("a bug of the host")  # An OSError, and yet not the connection's.

    first.handler.on_message = fail
    second.transport.send(first.public, b"x")
    await first.handler.parted()
    async with asyncio.timeout(10):
        await tcp_world.failed.wait()
    (error,) = tcp_world.errors
    tcp_world.errors.clear()
    assert "a bug of the host" in str(error["exception"].exceptions[0])


async def test_a_reason_from_a_stranger_is_one_printable_line(tcp_world: World, liar: Liar) -> None:
    peer = await tcp_world.peer(1)
    await liar.dial(peer.port)
    await liar.write(frame(Kind.GOODBYE, "caf\u00e9\n\x1b[31mred".encode()))
    reason = await peer.handler.parted()
    assert reason.isascii()
    assert reason.isprintable()
    assert reason.endswith("[31mred")


async def test_the_port_of_a_closed_transport_is_free_at_once(tcp_world: World) -> None:
    """Also while the kernel remembers a connection that this end closed first."""
    first = await tcp_world.peer(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.write(b"\x13/multistream/1.0.0\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
    await first.transport.close()
    again = await tcp_world.peer(3, port=first.port)
    assert again.port == first.port


async def _soon(value: bytes) -> bytes:
    return value


async def _round_trip(peer: Any, liar: Liar) -> bool:
    """Answer whether a request of `liar` is answered by `peer`."""
    await liar.write(frame(Kind.REQUEST, b"x", 1))
    return (await liar.read(Kind.LAST_PIECE)).data == b"answer to x"


async def test_a_port_written_behind_the_address_is_told_where_it_belongs() -> None:
    with pytest.raises(LocalError, match=r"127\.0\.0\.1:7400 .*not found.*; a port is given by --port"):
        await open_listener("127.0.0.1:7400", 0, None, DEFAULT_LIMITS)
    with pytest.raises(LocalError, match=r"no\.such\.invalid .*not found: [^;]*$"):
        await open_listener("no.such.invalid", 0, None, DEFAULT_LIMITS)


@needs_ipv6
async def test_an_ipv4_caller_is_counted_under_the_address_that_it_has_elsewhere_too() -> None:
    callers: list[str] = []

    async def serve(sock: socket.socket, address: Multiaddr) -> None:
        callers.append(address.host)
        sock.close()

    listener = await open_listener("::", 0, serve, DEFAULT_LIMITS)
    try:
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, listener.port)
            writer.write(bytes((TLS_FIRST_BYTE,)))
            with suppress(ConnectionResetError):
                await reader.read()
            writer.close()
    finally:
        await listener.close()
    assert callers == ["127.0.0.1", "::1"]
