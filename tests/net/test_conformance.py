"""What every transport promises; each test runs against each of them."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace
from support.sockets import needs_ipv6

from p2pfed.errors import LocalError, OutOfBounds, RateExceeded
from p2pfed.net.limits import DEFAULT_LIMITS
from p2pfed.net.transport import TransportError
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.params import CONTROL_BYTES_MAX, MIB
from p2pfed.types.wire import REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX

World = Any  # tests/net/conftest.py
NOBODY = bytes.fromhex("02" + "11" * 32)


async def test_a_dial_returns_the_key_and_both_ends_know_each_other(world: World) -> None:
    first, second = await world.peer(1), await world.peer(2)
    assert await second.dial(Multiaddr("127.0.0.1", first.port)) == first.public
    await first.handler.until(first.transport.peers)
    assert second.transport.peers() == {first.public: first.address}
    seen_from = first.transport.peers()[second.public]
    assert seen_from.host == "127.0.0.1"
    assert seen_from.public is None
    assert first.handler.events == [("connected", second.public)]
    assert second.handler.events == [("connected", first.public)]


async def test_messages_arrive_whole_and_in_order_both_ways(world: World) -> None:
    first, second = await world.pair()
    sent = [bytes((i,)) * size for i, size in enumerate((1, 0, 300, 65_536, 7, CONTROL_BYTES_MAX))]
    for data in sent:
        assert first.transport.send(second.public, data)
        assert second.transport.send(first.public, data)
    await first.handler.until(lambda: len(first.handler.messages) == len(sent))
    await second.handler.until(lambda: len(second.handler.messages) == len(sent))
    assert first.handler.messages == second.handler.messages == sent


@needs_ipv6
async def test_all_addresses_are_those_of_both_families(socket_world: World) -> None:
    first = await socket_world.peer(1, host="::")
    for number, host in ((2, "127.0.0.1"), (3, "::1")):
        other = await socket_world.peer(number, port=None)
        assert await other.dial(Multiaddr(host, first.port, first.public)) == first.public


async def test_what_is_too_long_is_refused_at_the_sender_and_the_pipe_stays(world: World) -> None:
    first, second = await world.pair()
    with pytest.raises(OutOfBounds, match=str(CONTROL_BYTES_MAX)):
        second.transport.send(first.public, bytes(CONTROL_BYTES_MAX + 1))
    with pytest.raises(OutOfBounds, match=str(REQUEST_BYTES_MAX)):
        await second.ask(first.public, bytes(REQUEST_BYTES_MAX + 1))
    assert await second.ask(first.public, bytes(REQUEST_BYTES_MAX)) == b"answer to " + bytes(
        REQUEST_BYTES_MAX
    )
    assert not second.handler.reasons


async def test_nobody_there_is_said(world: World) -> None:
    peer = await world.peer(1)
    assert not peer.transport.send(NOBODY, b"hello")
    with pytest.raises(TransportError, match=peer_id(NOBODY)):
        await peer.ask(NOBODY)


async def test_answers_come_back_whole_from_nothing_to_the_largest(world: World) -> None:
    first, second = await world.pair()
    answers = {
        str(size).encode(): random.Random(size).randbytes(size)
        for size in (0, 1, 65_535, 65_536, 65_537, MIB, RESPONSE_BYTES_MAX)
    }
    first.handler.on_serve = lambda _, data: _soon(answers[data])
    for question, answer in answers.items():
        assert await second.ask(first.public, question) == answer
    assert RESPONSE_BYTES_MAX == 9 * MIB


async def test_requests_run_both_ways_at_once(world: World) -> None:
    first, second = await world.pair()
    questions = [b"%d" % i for i in range(64)]
    asked = [second.ask(first.public, q) for q in questions] + [
        first.ask(second.public, q) for q in questions
    ]
    assert await asyncio.gather(*asked) == [b"answer to " + q for q in questions] * 2


async def test_more_requests_than_may_be_in_flight_wait_their_turn(world: World) -> None:
    first, second = await world.pair(limits=replace(_quick(world), requests_in_flight=4))
    held = asyncio.Event()
    first.handler.on_serve = lambda _, data: _after(held, data)
    asked = [asyncio.ensure_future(second.ask(first.public, b"%d" % i)) for i in range(12)]
    await first.handler.until(lambda: first.handler.serving)
    held.set()
    assert await asyncio.gather(*asked) == [b"%d" % i for i in range(12)]
    assert 1 <= first.handler.serving_most <= 4
    assert not first.handler.reasons


async def test_requests_that_wait_their_turn_fail_with_the_pipe(world: World) -> None:
    first, second = await world.pair(limits=replace(_quick(world), requests_in_flight=2))
    first.handler.on_serve = lambda _, data: _after(asyncio.Event(), data)
    asked = [asyncio.ensure_future(second.ask(first.public, timeout_ms=600_000)) for _ in range(4)]
    await first.handler.until(lambda: first.handler.serving)
    second.transport.disconnect(first.public, "enough")
    async with asyncio.timeout(10):
        failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(error).rpartition(": ")[2] for error in failed] == ["enough"] * 4


async def test_a_caller_who_gives_up_as_the_pipe_ends_leaves_no_error_behind(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_serve = lambda _, data: _after(asyncio.Event(), data)
    asked = asyncio.ensure_future(second.ask(first.public))
    await first.handler.until(lambda: first.handler.serving)
    second.transport.disconnect(first.public, "enough")
    asked.cancel()
    await asyncio.wait((asked,))
    del asked
    gc.collect()  # asyncio complains of an error that nobody saw when the future is freed.
    assert not world.errors


async def test_a_peer_that_was_stopped_itself_does_not_take_that_for_the_others_silence(world: World) -> None:
    first, second = await world.pair(limits=replace(_quick(world), heartbeat_ms=100, silence_ms=500))
    time.sleep(1.0)  # noqa: ASYNC251 - the loop that stands still is what happens here
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert not first.handler.reasons
    assert not second.handler.reasons


async def test_an_answer_beyond_the_limit_is_not_sent(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_serve = lambda _, __: _soon(bytes(RESPONSE_BYTES_MAX + 1))
    with pytest.raises(TransportError, match=f"{RESPONSE_BYTES_MAX + 1} bytes; at most {RESPONSE_BYTES_MAX}"):
        await second.ask(first.public)
    first.handler.on_serve = None
    assert await second.ask(first.public, b"again") == b"answer to again"


async def test_a_request_without_an_answer_ends_at_its_deadline_and_the_pipe_stays(world: World) -> None:
    first, second = await world.pair()
    held = asyncio.Event()
    first.handler.on_serve = lambda _, data: _after(held, data)
    with pytest.raises(TransportError, match="200 ms"):
        await second.ask(first.public, b"late", timeout_ms=200)
    held.set()  # The late answer is no fault of the peer.
    assert await second.ask(first.public, b"next") == b"next"
    assert not second.handler.reasons


async def test_a_fault_in_a_request_ends_the_pipe(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_serve = lambda _, __: _raise(RateExceeded("too many questions"))
    with pytest.raises(TransportError):
        await second.ask(first.public)
    assert "too many questions" in await first.handler.parted()
    await second.handler.parted()
    assert not first.transport.peers()
    assert not second.transport.peers()


async def test_a_fault_in_a_message_ends_the_pipe(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_message = lambda _, __: _raise(RateExceeded("too many messages"))
    second.transport.send(first.public, b"one")
    assert "too many messages" in await first.handler.parted()
    await second.handler.parted()


async def test_a_request_that_can_not_be_answered_now_says_why_and_the_pipe_stays(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_serve = lambda _, __: _raise(TransportError("busy"))
    for _ in range(2 * DEFAULT_LIMITS.requests_in_flight):  # A refused one is in flight no longer.
        with pytest.raises(TransportError, match="busy"):
            await second.ask(first.public)
    first.handler.on_serve = None
    assert await second.ask(first.public, b"again") == b"answer to again"


async def test_another_key_than_expected_is_named(world: World) -> None:
    first, second = await world.peer(1), await world.peer(2)
    with pytest.raises(TransportError) as caught:
        await second.dial(replace(first.address, public=world.key(9).public))
    assert peer_id(world.key(9).public) in str(caught.value)
    assert not second.transport.peers()
    assert not second.handler.events


async def test_another_chain_is_named(world: World) -> None:
    first, second = await world.peer(1, chain_id=b"\x0a" * 32), await world.peer(2, chain_id=b"\x0b" * 32)
    with pytest.raises(TransportError) as caught:
        await second.dial(first)
    assert ("0a" * 8) in str(caught.value)
    assert ("0b" * 8) in str(caught.value)
    assert not first.handler.events
    assert not second.handler.events


async def test_a_peer_does_not_dial_itself(world: World) -> None:
    peer = await world.peer(1)
    with pytest.raises(TransportError):
        await peer.dial(Multiaddr("127.0.0.1", peer.port))
    assert not peer.handler.events


async def test_a_port_where_nobody_listens_is_named(world: World) -> None:
    peer = await world.peer(1)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # Bound, not listening: nobody else can take it meanwhile.
        port = sock.getsockname()[1]
        with pytest.raises(TransportError, match=str(port)):
            await peer.dial(Multiaddr("127.0.0.1", port))


async def test_a_port_in_use_is_a_local_error_with_the_remedy(world: World) -> None:
    first = await world.peer(1)
    with pytest.raises(LocalError, match=f"{first.port}.*in use.*another port"):
        await world.peer(2, port=first.port)


async def test_disconnecting_tells_the_other_end_why(world: World) -> None:
    first, second = await world.pair()
    second.transport.send(first.public, b"before")
    second.transport.disconnect(first.public, "three bad signatures")
    assert second.handler.reasons == ["three bad signatures"]
    assert not second.transport.send(first.public, b"after")
    assert "three bad signatures" in await first.handler.parted()
    assert first.handler.messages == [b"before"]


async def test_a_second_dial_replaces_the_first_pipe(world: World) -> None:
    first, second = await world.pair()
    assert await second.dial(first) == first.public
    await first.handler.until(lambda: len(first.handler.connections(second.public)) == 3)
    await second.handler.until(lambda: len(second.handler.connections(first.public)) == 3)
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert await first.ask(second.public, b"y") == b"answer to y"


async def test_a_request_under_way_fails_when_its_pipe_is_replaced(world: World) -> None:
    first, second = await world.pair()
    first.handler.on_serve = lambda _, data: _after(asyncio.Event(), data)
    asked = asyncio.ensure_future(second.ask(first.public))
    await first.handler.until(lambda: first.handler.serving)
    await second.dial(first)
    with pytest.raises(TransportError):
        await asked


async def test_a_restarted_peer_replaces_what_its_former_life_left(world: World) -> None:
    """Also where the former pipe was dialled by the other end, which has not noticed that it is dead."""
    first, second = await world.pair()
    again = await world.peer(1)  # The same key in a new process, while the old one is still connected.
    await again.dial(second)
    await second.handler.until(lambda: len(second.handler.connections(first.public)) == 3)
    assert await again.ask(second.public, b"x") == b"answer to x"
    assert await second.ask(first.public, b"y") == b"answer to y"
    await first.handler.parted()


@pytest.mark.parametrize("attempt", range(4))
async def test_simultaneous_dials_settle_on_one_pipe(world: World, attempt: int) -> None:
    first, second = await world.peer(1), await world.peer(2)
    dials = [first.dial(second), second.dial(first)]
    keys = await asyncio.gather(*(dials if attempt % 2 else reversed(dials)))
    assert set(keys) == {first.public, second.public}

    def is_settled() -> bool:
        at_first = first.transport.peers().get(second.public)
        at_second = second.transport.peers().get(first.public)
        return bool(at_first and at_second) and (at_first.public is None) != (at_second.public is None)

    async with asyncio.timeout(10):
        while not is_settled():
            await asyncio.wait(
                [asyncio.ensure_future(peer.handler.until(is_settled)) for peer in (first, second)],
                return_when=asyncio.FIRST_COMPLETED,
            )
    assert await second.ask(first.public, b"x") == b"answer to x"
    assert await first.ask(second.public, b"y") == b"answer to y"
    assert first.handler.connections(second.public)[-1] == "connected"
    assert second.handler.connections(first.public)[-1] == "connected"


async def test_a_peer_killed_amid_a_request_fails_it_and_is_reported(world: World) -> None:
    peer, stranger = await world.peer(1), await world.stranger(2)
    public = await peer.dial(stranger.address)
    assert await peer.ask(public, b"ready") == b"ready"
    asked = asyncio.ensure_future(peer.ask(public, b"hang"))
    peer.transport.send(public, b"echo")  # Its echo says that the request has left.
    await peer.handler.until(lambda: peer.handler.messages == [b"echo"])
    stranger.kill()
    with pytest.raises(TransportError):
        await asked
    await peer.handler.parted()
    assert not peer.transport.peers()


async def test_a_stopped_peer_is_noticed(world: World) -> None:
    peer, stranger = await world.peer(1), await world.stranger(2)
    public = await peer.dial(stranger.address)
    assert await peer.ask(public, b"ready") == b"ready"
    stranger.stop()
    asked = asyncio.ensure_future(peer.ask(public, b"hang"))
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert "silent" in await peer.handler.parted()
    assert loop.time() - before < 8
    with pytest.raises(TransportError):
        await asked


async def test_a_dead_link_is_noticed_at_both_ends(world: World) -> None:
    first, second = await world.peer(1), await world.peer(2)
    address, freeze = await world.dead_link(first)
    await second.dial(address)
    await first.handler.until(first.transport.peers)
    assert await second.ask(first.public, b"x") == b"answer to x"
    freeze()
    assert "silent" in await first.handler.parted()
    assert "silent" in await second.handler.parted()


async def test_an_idle_pipe_stays_open_longer_than_the_silence_allowed(world: World) -> None:
    limits = replace(_quick(world), heartbeat_ms=100, silence_ms=500)
    first, second = await world.pair(limits=limits)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.2):
            await first.handler.parted()
    assert not second.handler.reasons


async def test_a_busy_handler_holds_back_its_own_pipe_alone_and_loses_nothing(world: World) -> None:
    limits = replace(_quick(world), heartbeat_ms=100, silence_ms=500)
    first, second = await world.pair(limits=limits)
    third = await world.peer(3, limits=limits)
    await third.dial(first)
    released = asyncio.Event()
    first.handler.on_message = lambda peer, data: (
        _after(released, data) if peer == second.public else _soon(data)
    )
    for i in range(8):
        assert second.transport.send(first.public, bytes((i,)) * 100_000)
    third.transport.send(first.public, b"from the third")
    with pytest.raises(TimeoutError):  # Twice the silence allowed: we don't listen, so it is not the peer's.
        async with asyncio.timeout(1.0):
            await first.handler.parted()
    assert b"from the third" in first.handler.messages
    assert not first.handler.reasons
    released.set()
    await first.handler.until(lambda: sum(len(data) == 100_000 for data in first.handler.messages) == 8)
    big = [data[0] for data in first.handler.messages if len(data) == 100_000]
    assert big == list(range(8))


async def test_a_peer_that_does_not_listen_is_let_go_when_its_queue_is_full(world: World) -> None:
    limits = replace(_quick(world), control_queue_bytes=2 * CONTROL_BYTES_MAX, silence_ms=20_000)
    first, second = await world.pair(limits=limits)
    first.handler.on_message = lambda _, data: _after(asyncio.Event(), data)
    for _ in range(200):
        if not second.transport.send(first.public, bytes(CONTROL_BYTES_MAX)):
            break
        await asyncio.sleep(0)
    assert "too slow" in (await second.handler.parted())
    assert not second.transport.peers()


async def test_a_vote_overtakes_answers_of_eight_mebibytes(socket_world: World) -> None:
    first, second = await socket_world.pair()
    order: list[str] = []
    vote = iter([b"vote"])

    async def serve(peer: bytes, _: bytes) -> bytes:
        for data in vote:  # Sent once, behind the first answer.
            asyncio.get_running_loop().call_soon(first.transport.send, peer, data)
        return bytes(8 * MIB)

    async def heard(_: bytes, __: bytes) -> None:
        order.append("vote")

    async def ask() -> None:
        await second.ask(first.public)
        order.append("answer")

    first.handler.on_serve, second.handler.on_message = serve, heard
    await asyncio.gather(*(ask() for _ in range(3)))
    assert order == ["vote", "answer", "answer", "answer"]


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16", id="a slow loris"),
        pytest.param(b"\x16\x03\x01\x02\x00" + bytes(512), id="a broken ClientHello"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="a browser"),
        pytest.param(b"\x13/multistream/1.0.0\n\x07/noise\n" + bytes(4096), id="libp2p, then garbage"),
        pytest.param(random.Random(1).randbytes(100_000), id="noise"),
    ],
)
async def test_garbage_on_the_port_is_closed_in_time_and_disturbs_nobody(
    socket_world: World, garbage: bytes
) -> None:
    first, second = await socket_world.pair()
    reader, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.write(garbage)
    third = await socket_world.peer(3)
    await third.dial(first)
    assert await third.ask(first.public, b"x") == b"answer to x"
    async with asyncio.timeout(10):
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
    writer.transport.abort()
    assert await second.ask(first.public, b"y") == b"answer to y"
    assert not first.handler.reasons


async def test_closing_leaves_no_task_thread_or_socket(world: World) -> None:
    before = _alive()
    first, second = await world.pair()
    waiting = asyncio.ensure_future(second.ask(first.public))
    first.handler.on_serve = lambda _, data: _after(asyncio.Event(), data)
    await first.handler.until(lambda: first.handler.serving)
    await first.transport.close()
    with pytest.raises(TransportError):
        await waiting
    await second.handler.parted()
    await second.transport.close()
    assert _alive() == before
    assert not first.transport.peers()
    with pytest.raises(TransportError):
        await second.dial(first)


async def test_a_dial_that_fails_leaves_no_socket(world: World) -> None:
    peer, stranger = await world.peer(1), await world.stranger(2)
    await peer.ask(await peer.dial(stranger.address))  # What a pipe and a first dial start has started.
    before = _alive()
    for _ in range(3):
        with pytest.raises(TransportError):
            await peer.dial(replace(stranger.address, public=NOBODY))
    assert _alive() == before


async def test_what_was_said_before_closing_still_arrives(world: World) -> None:
    # A busy machine needs longer than a peer that leaves should keep others waiting.
    first, second = await world.pair(limits=replace(_quick(world), close_ms=10_000))
    for i in range(20):
        second.transport.send(first.public, bytes((i,)) * 10_000)
    await second.transport.close()
    await first.handler.parted()
    assert [data[0] for data in first.handler.messages] == list(range(20))


def _alive() -> tuple[int, int, int]:
    """Return how many tasks, threads and sockets there are."""
    sockets = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # The listing's own.
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return len(asyncio.all_tasks()), threading.active_count(), sockets


def _quick(world: World) -> Any:
    return replace(DEFAULT_LIMITS, handshake_ms=1_500, heartbeat_ms=200, silence_ms=1_500)


async def _soon(value: Any) -> Any:
    return value


async def _after(event: asyncio.Event, value: Any) -> Any:
    await event.wait()
    return value


async def _raise(error: Exception) -> Any:
    raise error
