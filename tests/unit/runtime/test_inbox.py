from __future__ import annotations

import asyncio

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
from p2pfed.runtime.inbox import MESSAGES_WAITING_MAX, Inbox
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import PeerRecords

PEER = b"\2" * 33
MESSAGE = PeerRecords(())
DATA = codec.encode(MESSAGE)


async def test_a_message_is_decoded_and_carries_its_size() -> None:
    inbox = Inbox()
    await inbox.message(PEER, DATA)
    assert await inbox.get() == MessageReceived(PEER, MESSAGE, len(DATA), sha256(DATA))


async def test_garbage_is_the_fault_of_whoever_sent_it() -> None:
    inbox = Inbox()
    await inbox.message(PEER, b"\xc1garbage")
    event = await inbox.get()
    assert isinstance(event, PeerMisbehaved)
    assert (event.peer, type(event.fault)) == (PEER, MalformedMessage)


async def test_a_full_queue_holds_peers_back_and_never_ourselves() -> None:
    inbox = Inbox()
    for _ in range(MESSAGES_WAITING_MAX):
        await inbox.message(PEER, DATA)
    waiting = asyncio.ensure_future(inbox.message(PEER, DATA))
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(Started())
    await inbox.get()
    await waiting
    for _ in range(MESSAGES_WAITING_MAX - 1):
        await inbox.get()
    assert await inbox.get() == Started()


async def test_our_own_events_give_no_place_to_peers() -> None:
    inbox = Inbox()
    inbox.put(Started())
    for _ in range(MESSAGES_WAITING_MAX):
        await inbox.message(PEER, DATA)
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
