"""What only the libp2p transport has to show: keys, neighbours, and strangers who know the library."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

pytest.importorskip("libp2p", reason="needs the extra p2pfed[libp2p]")

import libp2p
import multiaddr
import trio
from libp2p.crypto.ed25519 import create_new_key_pair as create_new_ed25519_key_pair
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr

from p2pfed.net.factory import make_transport
from p2pfed.net.libp2p import frames
from p2pfed.net.libp2p.limits import INBOX_MESSAGES_MAX, STREAMS_SPARE, WINDOW_BYTES_MAX
from p2pfed.net.libp2p.raw_stream import RawStream
from p2pfed.net.libp2p.upgrade import Upgrader, open_stream
from p2pfed.net.limits import DEFAULT_LIMITS
from p2pfed.net.transport import Transport, TransportError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.params import MIB

CHAIN = bytes(range(32))
DEADLINE_S = 20.0
TCP_ESTABLISHED, TCP_CLOSE = 1, 7  # As Linux counts.
QUICK = replace(DEFAULT_LIMITS, handshake_ms=1_500, heartbeat_ms=200, silence_ms=3_000)


class Listener:
    """A handler that counts, and that can be made to wait."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.may_handle = asyncio.Event()
        self.may_handle.set()
        self.answer = b"answer"
        self.messages: list[bytes] = []

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        self.opened.set()

    def disconnected(self, peer: bytes, reason: str) -> None:
        if not self.reason.done():
            self.reason.set_result(reason)

    async def message(self, peer: bytes, data: bytes) -> None:
        await self.may_handle.wait()
        self.messages.append(data)

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        return self.answer


Maker = Callable[..., tuple[Transport, Listener]]


@pytest.fixture
async def make() -> AsyncIterator[Maker]:
    """Make a transport of the peer with a number; all are closed in the end."""
    made: list[Transport] = []

    def new(number: int, name: str = "libp2p", *, close_ms: int = 500) -> tuple[Transport, Listener]:
        handler, limits = Listener(), replace(QUICK, close_ms=close_ms)
        made.append(make_transport(name, key=key(number), chain_id=CHAIN, handler=handler, limits=limits))
        return made[-1], handler

    yield new
    for transport in made:
        await transport.close()


def key(number: int) -> PrivateKey:
    return PrivateKey(bytes((number,)) * 32)


async def on_trio(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a stranger on a Trio of its own."""
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(trio.run, work)


@pytest.mark.parametrize("number", range(1, 9))
def test_libp2p_calls_a_key_what_we_call_it(number: int) -> None:
    pair = create_new_key_pair(key(number).secret)
    assert ID.from_pubkey(pair.public_key).to_base58() == peer_id(key(number).public)


async def test_dialling_a_peer_of_the_other_transport_names_both(make: Maker) -> None:
    ours, _ = make(1)
    other, _ = make(2, "tcp")
    for dialler, listener in ((ours, other), (other, ours)):
        port = await listener.listen("127.0.0.1", 0)
        with pytest.raises(TransportError) as caught:
            await dialler.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert "libp2p" in str(caught.value)
        assert "tcp" in str(caught.value)


async def test_any_libp2p_host_can_connect_and_ask_who_we_are(make: Maker) -> None:
    transport, listener = make(1)
    port = await transport.listen("127.0.0.1", 0)
    await transport.listen("0.0.0.0", 0)
    address = str(Multiaddr("127.0.0.1", port, key(1).public))

    async def stranger() -> bytes:
        host = libp2p.new_host(key_pair=create_new_key_pair(bytes(31) + b"\x09"))
        async with host.run(listen_addrs=[]):
            info = info_from_p2p_addr(multiaddr.Multiaddr(address))
            await host.connect(info)
            stream = await host.new_stream(info.peer_id, [libp2p.custom_types.TProtocol("/ipfs/id/1.0.0")])
            return bytes(await stream.read(4096))

    said = parse_identify_response(await on_trio(stranger))
    assert said.agent_version.startswith("p2pfed/")
    assert {frames.CONTROL, frames.BULK} <= set(said.protocols)
    assert said.public_key[-33:] == key(1).public
    # The wildcard is nobody's address.
    assert [str(multiaddr.Multiaddr(each)) for each in said.listen_addrs] == [f"/ip4/127.0.0.1/tcp/{port}"]
    assert not listener.opened.is_set()


async def test_a_key_of_another_kind_makes_no_pipe(make: Maker) -> None:
    transport, listener = make(1)
    address = str(Multiaddr("127.0.0.1", await transport.listen("127.0.0.1", 0), key(1).public))

    async def stranger() -> bool:
        host = libp2p.new_host(key_pair=create_new_ed25519_key_pair())
        async with host.run(listen_addrs=[]):
            info = info_from_p2p_addr(multiaddr.Multiaddr(address))
            try:
                await host.connect(info)
                await host.new_stream(info.peer_id, [libp2p.custom_types.TProtocol(frames.CONTROL)])
            except (libp2p.exceptions.BaseLibp2pError, trio.BrokenResourceError):
                return False
            return True

    assert not await on_trio(stranger)
    assert not listener.opened.is_set()


class Stranger:
    """Somebody with a key, the chain id and our protocol, who then does as they please."""

    def __init__(self, port: int, number: int) -> None:
        self._port, self._key = port, key(number)

    async def run(self, misdeed: Callable[[Any, RawStream, Any], Awaitable[Any]]) -> Any:
        socket = await trio.open_tcp_stream("127.0.0.1", self._port)
        raw = RawStream(socket, is_initiator=True, stall_s=20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.drain)
            _, muxer = await Upgrader(self._key.secret, self._key.public).upgrade(raw)
            nursery.start_soon(muxer.start)
            hello = frames.hello_frame(CHAIN)
            control = await open_stream(muxer, raw, frames.CONTROL, hello, stall_s=20)
            assert (await frames.read_frame(control))[0] == frames.HELLO
            await control.write(frames.frame(frames.CONFIRM))
            result = await misdeed(muxer, raw, control)
            nursery.cancel_scope.cancel()
        await raw.close()
        return result


async def test_a_peer_that_overruns_its_window_is_let_go(make: Maker) -> None:
    """The library only warns, and keeps whatever is sent: one peer could fill our memory."""
    transport, listener = make(1)
    listener.may_handle.clear()
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)

    async def flood(_: Any, raw: RawStream, control: Any) -> None:
        control._muxed.send_window = 1 << 30
        message = frames.frame(frames.MESSAGE, bytes(200_000))
        while not raw.failure:
            await raw.until_unsent_below(MIB)
            await control._muxed.write(message)

    async def until_let_go() -> None:
        with trio.move_on_after(DEADLINE_S / 2):
            # We close on it, so its writes fail.
            with suppress(BaseExceptionGroup):
                await stranger.run(flood)

    flooding = asyncio.ensure_future(on_trio(until_let_go))
    async with asyncio.timeout(DEADLINE_S):
        assert f"window of {WINDOW_BYTES_MAX}" in await listener.reason
    await flooding


async def test_streams_beyond_the_limit_are_reset_and_the_pipe_stays(make: Maker) -> None:
    transport, listener = make(1)
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)
    limit = QUICK.requests_in_flight + STREAMS_SPARE

    async def open_many(muxer: Any, raw: RawStream, _: Any) -> list[bool]:
        streams = [await muxer.open_stream() for _ in range(limit + 5)]
        with trio.fail_after(DEADLINE_S / 2):
            while sum(stream.reset_received for stream in streams) < 6:
                await raw.until_progress()
        return [stream.reset_received for stream in streams]

    # The control stream counts too, so one less of these has room.
    assert await on_trio(lambda: stranger.run(open_many)) == [False] * (limit - 1) + [True] * 6
    assert listener.opened.is_set()


async def test_a_busy_owner_holds_few_messages_and_gets_them_all(make: Maker) -> None:
    transport, listener = make(1)
    listener.may_handle.clear()
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)

    loop = asyncio.get_running_loop()

    async def send_many(muxer: Any, raw: RawStream, control: Any) -> None:
        await control.write(b"".join(frames.frame(frames.MESSAGE, bytes((i,))) for i in range(200)))
        asked = await open_stream(muxer, raw, frames.BULK, frames.request(b"x"), stall_s=20)
        assert await frames.read_answer(asked) == b"answer"
        ours = transport._pipes[key(2).public]  # type: ignore[attr-defined]
        assert ours.inbox.qsize() <= INBOX_MESSAGES_MAX
        loop.call_soon_threadsafe(listener.may_handle.set)
        with trio.fail_after(DEADLINE_S / 2):
            while len(listener.messages) < 200:
                await raw.until_progress()  # Heartbeats, at the latest.

    await on_trio(lambda: stranger.run(send_many))
    assert listener.messages == [bytes((i,)) for i in range(200)]


async def test_a_peer_of_the_release_before_is_offered_no_side_channel(make: Maker) -> None:
    """It would end the pipe: it doesn't know that kind of frame, and does not say that it does."""
    transport, listener = make(1)
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)

    async def listen(_: Any, __: RawStream, control: Any) -> list[int]:
        kinds = []
        with trio.fail_after(DEADLINE_S / 2):
            while frames.MESSAGE not in kinds:
                kinds.append((await frames.read_frame(control))[0])
        return kinds

    heard = asyncio.ensure_future(on_trio(lambda: stranger.run(listen)))
    await listener.opened.wait()
    assert transport.send(key(2).public, b"a message")
    assert set(await heard) <= {frames.MESSAGE, frames.ALIVE}


async def test_a_dialler_that_offers_a_side_channel_is_let_go(make: Maker) -> None:
    """Only who was dialled may: it can be reached."""
    transport, listener = make(1)
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)

    async def offer(_: Any, __: RawStream, control: Any) -> None:
        await control.write(frames.frame(frames.OFFER, bytes(frames.OFFER_BYTES)))
        with trio.move_on_after(DEADLINE_S / 2):
            while True:
                await frames.read_frame(control)

    with suppress(BaseExceptionGroup):
        await on_trio(lambda: stranger.run(offer))
    assert "offer" in await listener.reason


async def test_dials_to_one_peer_at_once_make_one_pipe(make: Maker) -> None:
    (first, at_first), (second, at_second) = make(1), make(2)
    port = await first.listen("127.0.0.1", 0)
    dials = [second.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000) for _ in range(4)]
    assert set(await asyncio.gather(*dials)) == {key(1).public}
    assert await second.request(key(1).public, b"x", timeout_ms=10_000) == b"answer"
    assert not at_first.reason.done()
    assert not at_second.reason.done()


async def test_a_peer_that_leaves_while_messages_reach_it_is_heard_to_the_end(make: Maker) -> None:
    """A socket closed with input unread is reset, and what it had not sent yet is gone."""
    (first, at_first), (second, _) = make(1), make(2, close_ms=10_000)
    port = await first.listen("127.0.0.1", 0)
    await second.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
    await at_first.opened.wait()
    far = _raw(second, 1)
    may_read, receive = trio.Event(), far._socket.receive_some

    async def receive_late(count: int) -> bytes | bytearray:
        await may_read.wait()
        return await receive(count)

    far._socket.receive_some = receive_late  # type: ignore[method-assign]
    await _until(lambda: first.send(key(2).public, b"one more") and _peek(far))
    is_busy = threading.Event()
    first._thread.post(is_busy.wait, DEADLINE_S)  # type: ignore[attr-defined]
    for i in range(5):  # The kernel takes it all.
        second.send(key(1).public, bytes((i,)) * 10_000)
    closing = asyncio.ensure_future(second.close())
    await _until(lambda: _state(far) != TCP_ESTABLISHED)
    assert _state(far) != TCP_CLOSE
    second._thread.post(may_read.set)  # type: ignore[attr-defined]
    is_busy.set()
    assert "this peer stops" in await at_first.reason
    await closing
    assert [data[0] for data in at_first.messages] == list(range(5))


async def test_a_busy_owner_gets_what_a_peer_said_before_it_crashed(make: Maker) -> None:
    transport, listener = make(1)
    listener.may_handle.clear()
    stranger = Stranger(await transport.listen("127.0.0.1", 0), 2)

    async def say_and_crash(_: Any, raw: RawStream, control: Any) -> None:
        messages = (frames.frame(frames.MESSAGE, bytes((i,)) * 5_000) for i in range(100))
        await control.write(b"".join(messages))
        await raw.until_unsent_below(0)
        while _unsent(raw):  # noqa: ASYNC110 - a reset would drop what our own kernel holds
            await trio.sleep(0.001)
        raw._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    near = asyncio.ensure_future(_opened(transport, listener))
    await on_trio(lambda: stranger.run(say_and_crash))
    raw = await near
    await _until(lambda: _state(raw) == TCP_CLOSE)
    listener.may_handle.set()
    await listener.reason
    assert [data[0] for data in listener.messages] == list(range(100))


async def _opened(transport: Transport, listener: Listener) -> RawStream:
    await listener.opened.wait()
    return _raw(transport, 2)


def _raw(transport: Transport, number: int) -> RawStream:
    return transport._pipes[key(number).public].connection._raw  # type: ignore[attr-defined,no-any-return]


def _state(raw: RawStream) -> int:
    if raw._socket.socket.fileno() < 0:  # The library closes what is broken.
        return TCP_CLOSE
    return raw._socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _unsent(raw: RawStream) -> int:
    return struct.unpack("i", fcntl.ioctl(raw._socket.socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]


def _peek(raw: RawStream) -> bytes:
    with suppress(BlockingIOError), socket.socket(fileno=os.dup(raw._socket.socket.fileno())) as twin:
        return twin.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what a kernel holds has no event
            await asyncio.sleep(0.001)


async def test_two_peers_that_send_bulk_to_each_other_do_not_wait_for_each_other(make: Maker) -> None:
    (first, at_first), (second, at_second) = make(1), make(2)
    at_first.answer = at_second.answer = os.urandom(2 * MIB)
    port = await first.listen("127.0.0.1", 0)
    await second.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
    await at_first.opened.wait()
    asked = [first.request(key(2).public, b"x", timeout_ms=20_000) for _ in range(6)]
    asked += [second.request(key(1).public, b"x", timeout_ms=20_000) for _ in range(6)]
    assert set(await asyncio.gather(*asked)) == {at_first.answer}


_WITHOUT_THE_LIBRARY = """
import sys
import p2pfed.net.libp2p.transport as room
assert not {"trio", "libp2p"} & set(sys.modules), "imported before it is needed"
sys.modules["libp2p"] = None
from p2pfed.errors import LocalError
from p2pfed.net.factory import make_transport
from p2pfed.primitives.keys import PrivateKey
def make_directly(name, **rest):
    return room.Libp2pTransport(**rest)
for make in (make_transport, make_directly):
    try:
        make("libp2p", key=PrivateKey(b"1" * 32), chain_id=bytes(32), handler=None)
    except LocalError as error:
        assert "p2pfed[libp2p]" in str(error) and "libgmp-dev" in str(error), error
    else:
        raise SystemExit("made without the library")
"""


def test_without_the_library_one_sentence_says_what_to_install() -> None:
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_LIBRARY], check=True, env={**os.environ, "PYTHONPATH": root}
    )
