from __future__ import annotations

import asyncio

import pytest

from p2pfed.errors import MalformedMessage
from p2pfed.node.events import (
    MessageReceived,
    PeerConnected,
    PeerDisconnected,
    PeerMisbehaved,
    Started,
)
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.runtime import inbox as inbox_room
from p2pfed.runtime.inbox import (
    LARGE_MESSAGES_WAITING_MAX,
    MESSAGES_WAITING_MAX,
    MESSAGES_WAITING_PER_PEER_MAX,
    Inbox,
)
from p2pfed.types.address import Multiaddr
from p2pfed.types.vote import Precommit
from p2pfed.types.wire import PeerRecords

PEER = b"\2" * 33
MESSAGE = PeerRecords(())
DATA = codec.encode(MESSAGE)
# So many that they fill the queue together.
PEERS = [
    bytes([100 + number]) * 33 for number in range(MESSAGES_WAITING_MAX // MESSAGES_WAITING_PER_PEER_MAX)
]


async def _inbox(*peers: bytes) -> Inbox:
    """Return an inbox with a pipe to each of `peers`."""
    inbox = Inbox()
    for peer in peers:
        inbox.connected(peer, None, inbound=True)
        await inbox.get()
    return inbox


async def _fill(inbox: Inbox) -> None:
    for peer in PEERS:
        for _ in range(MESSAGES_WAITING_PER_PEER_MAX):
            await inbox.message(peer, DATA)


async def test_a_message_is_decoded_and_carries_its_size() -> None:
    inbox = await _inbox(PEER)
    await inbox.message(PEER, DATA)
    assert await inbox.get() == MessageReceived(PEER, MESSAGE, len(DATA), sha256(DATA))


@pytest.mark.parametrize(
    "data",
    [b"\xc1garbage", b"\x91" * 200_000, b"", DATA + b"\0", b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"],
)
async def test_garbage_ends_its_pipe_at_once_and_is_told_to_the_node(data: bytes) -> None:
    inbox = await _inbox(PEER)
    with pytest.raises(MalformedMessage):
        await inbox.message(PEER, data)
    event = await inbox.get()
    assert isinstance(event, PeerMisbehaved)
    assert (event.peer, type(event.fault)) == (PEER, MalformedMessage)
    await inbox.message(PEER, DATA)
    assert isinstance(await inbox.get(), MessageReceived)


async def test_a_peer_that_sends_without_end_waits_and_the_others_do_not() -> None:
    inbox = await _inbox(PEER, PEERS[0])
    for _ in range(MESSAGES_WAITING_PER_PEER_MAX):
        await inbox.message(PEER, DATA)
    waiting = asyncio.ensure_future(inbox.message(PEER, DATA))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.message(PEERS[0], DATA)
    await inbox.get()
    await waiting


async def test_a_pipe_that_ends_while_it_waits_gives_its_place_back() -> None:
    inbox = await _inbox(PEER, *PEERS)
    await _fill(inbox)
    for _ in range(MESSAGES_WAITING_PER_PEER_MAX + 1):
        waiting = asyncio.ensure_future(inbox.message(PEER, DATA))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await inbox.get()
    await inbox.message(PEER, DATA)
    inbox.disconnected(PEER, "gone")
    await inbox.message(PEER, DATA)  # What its reader still had in its hands is dropped.


async def test_a_full_queue_holds_peers_back_and_never_ourselves() -> None:
    inbox = await _inbox(PEER, *PEERS)
    await _fill(inbox)
    waiting = asyncio.ensure_future(inbox.message(PEER, DATA))
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(Started())
    await inbox.get()
    await waiting
    for _ in range(MESSAGES_WAITING_MAX - 1):
        await inbox.get()
    assert await inbox.get() == Started()


async def test_few_messages_may_be_large_and_small_ones_pass_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_room, "LARGE_BYTES", len(DATA))
    large = codec.encode(Precommit(1, 0, None, 0, bytes(64)))
    peers = PEERS[:2]
    inbox = await _inbox(PEER, *peers)
    for number in range(LARGE_MESSAGES_WAITING_MAX):
        await inbox.message(peers[number % 2], large)
    waiting = asyncio.ensure_future(inbox.message(PEER, large))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.message(PEER, DATA)
    await inbox.get()
    await waiting
    given_up = asyncio.ensure_future(inbox.message(PEER, large))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    for _ in range(LARGE_MESSAGES_WAITING_MAX + 1):
        await inbox.get()
    for _ in range(MESSAGES_WAITING_PER_PEER_MAX):  # It holds no place any more.
        await inbox.message(PEER, large)


async def test_our_own_events_give_no_place_to_peers() -> None:
    inbox = await _inbox(PEER, *PEERS)
    inbox.put(Started())
    await _fill(inbox)
    await inbox.get()
    waiting = asyncio.ensure_future(inbox.message(PEER, DATA))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_only_an_address_that_we_dialled_counts() -> None:
    inbox, address = Inbox(), Multiaddr("10.0.0.7", 7400)
    inbox.connected(PEER, address, inbound=True)
    inbox.connected(PEER, address, inbound=False)
    inbox.disconnected(PEER, "gone")
    assert [await inbox.get() for _ in range(3)] == [
        PeerConnected(PEER, None),
        PeerConnected(PEER, address),
        PeerDisconnected(PEER),
    ]


async def test_requests_go_to_the_server() -> None:
    inbox = Inbox()

    async def server(peer: bytes, data: bytes) -> bytes:
        return peer + data

    inbox.serve_with(server)
    assert await inbox.serve(PEER, b"?") == PEER + b"?"
