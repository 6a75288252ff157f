"""The side channel: a TLS connection beside a libp2p pipe, for bulk alone, several times as fast as noise.

It goes to the port that the pipe goes to, where the first byte tells the two apart, so no further port has to
be open. Who was dialled offers it on the pipe: a token that is good once, and the fingerprint of its
certificate. The pipe proved both keys, nobody else knows the token, and the dialler shows it only to the
holder of that certificate; so the channel needs no signatures. It is dialled once. Where it isn't, or breaks,
requests go over streams of the pipe, also those that were under way: asking again for bulk does no harm.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable, Coroutine
from logging import getLogger
from typing import Any

from p2pfed.errors import MalformedMessage, PeerFault
from p2pfed.net.libp2p.frames import TOKEN_BYTES
from p2pfed.net.limits import Limits
from p2pfed.net.tasks import raise_in_loop
from p2pfed.net.tcp.certificate import dialer_context, listener_context
from p2pfed.net.tcp.dialer import place
from p2pfed.net.tcp.frames import Kind, expect, frame, read_frame
from p2pfed.net.tcp.listener import Doorkeeper
from p2pfed.net.tcp.pipe import Pipe, refuse
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.transport import TransportError, TransportHandler
from p2pfed.primitives.digest import sha256
from p2pfed.types.address import Multiaddr, short_id

_LOG = getLogger(__name__)
WRONG_TRANSPORT = "this peer speaks libp2p, you speak tcp: `transport` in genesis names one"


class SideChannel:
    """That of one pipe: not there yet, open, or over."""

    def __init__(
        self, door: SideDoor, peer: bytes, handler: TransportHandler, cut: Callable[[str], None]
    ) -> None:
        self._door = door
        self._peer = peer
        self._handler = _BulkHandler(handler)
        self._cut = cut  # Ends the libp2p pipe: for what the peer did here.
        self._pipe: Pipe | None = None
        self._is_over = False
        self._dialling: asyncio.Task[None] | None = None
        self._telling: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests go over it now."""
        return self._pipe is not None

    @property
    def has_failed(self) -> bool:
        """Whether there will be none any more."""
        return self._telling is not None

    async def request(self, data: bytes) -> bytes | None:
        """Return the answer to `data`; None where the channel isn't open, or broke before the answer.

        Raises:
            TransportError: The peer refused.
        """
        pipe = self._pipe
        if pipe is None:
            return None
        try:
            return await pipe.request(data)
        except TransportError:
            if pipe.reason is None:
                raise
            return None

    def dial(self, address: Multiaddr, offer: bytes) -> None:
        """Take up the peer's offer, OFFER_BYTES long."""
        token, fingerprint = offer[:TOKEN_BYTES], offer[TOKEN_BYTES:]
        self._dialling = self._door.start(self._door.dial(self, address, token, fingerprint))

    def open(self, stream: Stream, address: Multiaddr, *, inbound: bool) -> asyncio.Task[None] | None:
        """Carry bulk over an authenticated stream; None where the libp2p pipe has ended meanwhile."""
        if self._is_over or self._pipe is not None:
            return None
        self._pipe = Pipe(
            stream,
            self._peer,
            address=address,
            inbound=inbound,
            handler=self._handler,
            on_end=self._ended,
            limits=self._door.limits,
        )
        _LOG.info("side channel to %s open", short_id(self._peer))
        return self._door.start(self._pipe.run())

    def fail(self, why: str) -> None:
        """Bulk goes over the pipe from now on; said unless the pipe ends as well."""
        if not self._is_over and self._telling is None:
            wait_s = self._door.limits.silence_ms / 1000
            self._telling = asyncio.get_running_loop().call_later(wait_s, self._tell, why)

    def end(self, reason: str) -> None:
        """End with the libp2p pipe."""
        self._is_over = True
        self._door.withdraw(self)
        if self._dialling is not None:
            self._dialling.cancel()
        if self._telling is not None:
            self._telling.cancel()
        if self._pipe is not None:
            self._pipe.end(reason)

    def _ended(self, pipe: Pipe) -> None:
        assert pipe.reason is not None
        self._pipe = None
        if self._is_over:
            return
        if pipe.is_faulty:
            self._cut(pipe.reason)
        else:
            self.fail(pipe.reason)

    def _tell(self, why: str) -> None:
        _LOG.warning("no side channel to %s (%s): bulk goes over libp2p", short_id(self._peer), why)


class SideDoor:
    """Where side channels of one transport come in and go out."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._listener_tls: tuple[ssl.SSLContext, bytes] | None = None
        self._dialer_tls: ssl.SSLContext | None = None
        self._offered: dict[bytes, SideChannel] = {}  # By token; of each pipe one at most.
        self._doorkeeper = Doorkeeper(self._welcome, limits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def offer(self, channel: SideChannel) -> bytes:
        """Return what to tell the peer, OFFER_BYTES long."""
        token = secrets.token_bytes(TOKEN_BYTES)
        self._offered[token] = channel
        return token + sha256(self._certificate()[1])

    def withdraw(self, channel: SideChannel) -> None:
        """Forget what was offered for `channel`."""
        self._offered = {token: other for token, other in self._offered.items() if other is not channel}

    def admit(self, sock: socket.socket, address: Multiaddr) -> None:
        """Greet somebody whose first byte was that of TLS; the socket is ours from now on."""
        sock.setblocking(False)
        if self._is_closed:
            sock.close()
        else:
            self._doorkeeper.admit(sock, address)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in a task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(raise_in_loop)
        return task

    async def close(self) -> None:
        """End whatever is being greeted; every channel has been told to end."""
        self._is_closed = True
        await self._doorkeeper.close()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def dial(self, channel: SideChannel, address: Multiaddr, token: bytes, fingerprint: bytes) -> None:
        """Open `channel`, or tell it why that failed."""
        where, stream, task = place(address), Stream(), None
        if self._dialer_tls is None:
            self._dialer_tls = dialer_context()
        try:
            async with asyncio.timeout(self.limits.handshake_ms / 1000):
                await stream.dial(address.host, address.port, self._dialer_tls, self.limits)
                if sha256(stream.certificate()) != fingerprint:
                    raise TransportError(f"{where} shows another certificate than was offered")
                await stream.write(frame(Kind.PROOF, token))
                await expect(stream.reader, Kind.PROOF, where)
            task = channel.open(stream, address, inbound=False)
        except (PeerFault, TransportError, OSError, asyncio.IncompleteReadError) as error:
            channel.fail(str(error) or f"{where} did not answer in time")
        finally:
            if task is None:
                await stream.abort()

    async def _welcome(self, sock: socket.socket, address: Multiaddr) -> None:
        """Greet who dialled us; returns when the channel has ended."""
        stream, task = Stream(), None
        try:
            async with asyncio.timeout(self.limits.handshake_ms / 1000):
                await stream.accept(sock, self._certificate()[0], self.limits)
                channel = await self._hear_token(stream)
                await stream.write(frame(Kind.PROOF))
            task = channel.open(stream, address, inbound=True)
        except (PeerFault, TransportError, OSError, asyncio.IncompleteReadError) as error:
            _LOG.info("refused %s: %s", place(address), error or "no token in time")
        finally:
            if task is None:
                await stream.abort()
        if task is not None:
            await asyncio.wait((task,))  # Not awaited itself: a closing door does not cancel a channel.

    async def _hear_token(self, stream: Stream) -> SideChannel:
        received = await read_frame(stream.reader)
        channel = self._offered.pop(received.data, None) if received.kind is Kind.PROOF else None
        if channel is None:
            why = "the token was not offered" if received.kind is Kind.PROOF else WRONG_TRANSPORT
            await refuse(stream, why, self.limits)
            raise TransportError(why)
        return channel

    def _certificate(self) -> tuple[ssl.SSLContext, bytes]:
        if self._listener_tls is None:
            self._listener_tls = listener_context()
        return self._listener_tls


class _BulkHandler:
    """Answers requests as the owner of the transport does; messages belong to the pipe."""

    def __init__(self, handler: TransportHandler) -> None:
        self._handler = handler

    async def message(self, peer: bytes, data: bytes) -> None:  # noqa: ARG002 - none belongs here
        raise MalformedMessage("a control message on the side channel")

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        return await self._handler.serve(peer, data)
