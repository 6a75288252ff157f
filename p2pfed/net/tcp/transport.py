"""The `tcp` transport: listen, dial, greet, and keep one pipe for each key."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Mapping
from logging import getLogger

from msgspec.structs import replace

from p2pfed.errors import OutOfBounds, PeerFault
from p2pfed.net.handshakes import RefusedKeys
from p2pfed.net.limits import DEFAULT_LIMITS, PROTOCOL_VERSION, Limits
from p2pfed.net.tasks import raise_in_loop
from p2pfed.net.tcp.certificate import dialer_context, listener_context
from p2pfed.net.tcp.dialer import dial_tls, place
from p2pfed.net.tcp.frames import Kind, expect, frame
from p2pfed.net.tcp.hello import Hello, Transcript, check_hello, check_proof, prove
from p2pfed.net.tcp.listener import Listener, open_listener
from p2pfed.net.tcp.pipe import Pipe, refuse
from p2pfed.net.tcp.stream import Stream
from p2pfed.net.transport import TransportError, TransportHandler
from p2pfed.primitives import codec
from p2pfed.primitives.digest import sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr, peer_id
from p2pfed.types.params import CONTROL_BYTES_MAX
from p2pfed.types.wire import REQUEST_BYTES_MAX

_LOG = getLogger(__name__)
_SECOND_PIPE = "another pipe between the two peers is kept"


class TcpTransport:
    """Pipes over TLS 1.3. See `p2pfed.net.transport.Transport` for what each method promises."""

    name = "tcp"

    def __init__(
        self, *, key: PrivateKey, chain_id: bytes, handler: TransportHandler, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._key = key
        self._chain_id = chain_id
        self._handler = handler
        self._limits = limits
        self._process = secrets.token_bytes(16)
        self._dials = 0
        self._pipes: dict[bytes, Pipe] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # Of pipes, also of ended ones that still say goodbye.
        self._listener: Listener | None = None
        self._listener_tls: tuple[ssl.SSLContext, bytes] | None = None
        self._dialer_tls: ssl.SSLContext | None = None
        self._refused = RefusedKeys(limits)
        self._is_closed = False

    async def listen(self, host: str, port: int) -> int:
        assert self._listener is None
        assert not self._is_closed
        if self._listener_tls is None:
            self._listener_tls = listener_context()
        self._listener = await open_listener(host, port, self._welcome, self._limits)
        return self._listener.port

    async def dial(self, address: Multiaddr, *, timeout_ms: int) -> bytes:
        where = place(address)
        if self._is_closed:
            raise TransportError("this transport is closed")
        if sum(not pipe.inbound for pipe in self._pipes.values()) >= self._limits.pipes:
            raise TransportError(f"{where} was not dialled: {self._limits.pipes} dialled pipes are open")
        if self._dialer_tls is None:
            self._dialer_tls = dialer_context()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                stream = await dial_tls(address, self._dialer_tls, self._limits)
                return await self._introduce(stream, address)
        except TimeoutError:
            raise TransportError(f"{where} did not answer within {timeout_ms} ms") from None

    def send(self, peer: bytes, data: bytes) -> bool:
        if len(data) > CONTROL_BYTES_MAX:
            raise OutOfBounds(f"a control message of {len(data)} bytes; at most {CONTROL_BYTES_MAX}")
        pipe = self._pipes.get(peer)
        return pipe is not None and pipe.send(data)

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        if len(data) > REQUEST_BYTES_MAX:
            raise OutOfBounds(f"a request of {len(data)} bytes; at most {REQUEST_BYTES_MAX}")
        pipe = self._pipes.get(peer)
        if pipe is None:
            raise TransportError(f"no pipe to {peer_id(peer)}")
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await pipe.request(data)
        except TimeoutError:
            raise TransportError(f"{peer_id(peer)} did not answer within {timeout_ms} ms") from None

    def disconnect(self, peer: bytes, reason: str) -> None:
        self._refused.add(peer)
        pipe = self._pipes.get(peer)
        if pipe is not None:
            pipe.end(reason)

    def peers(self) -> Mapping[bytes, Multiaddr | None]:
        return {peer: pipe.address for peer, pipe in self._pipes.items()}

    async def close(self) -> None:
        self._is_closed = True
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        for pipe in list(self._pipes.values()):
            pipe.end("this peer stops")
        while self._tasks:
            await asyncio.wait(self._tasks)

    # How a connection becomes a pipe.

    async def _introduce(self, stream: Stream, address: Multiaddr) -> bytes:
        """The dialer's side of the hello; returns the key that was proved."""
        where = place(address)
        self._dials += 1
        ours = self._hello(self._dials)
        is_kept = False
        try:
            await stream.write(frame(Kind.HELLO, codec.encode(ours)))
            theirs = check_hello(await expect(stream.reader, Kind.HELLO, where), ours, address.public, where)
            certificate = sha256(stream.certificate())
            said = Transcript("dialer", ours, theirs, certificate)
            await stream.write(frame(Kind.PROOF, prove(self._key, said)))
            proof = await expect(stream.reader, Kind.PROOF, where)
            check_proof(theirs.key, Transcript("listener", ours, theirs, certificate), proof, where)
            place_dialled = replace(address, public=theirs.key)
            is_kept = self._admit(stream, theirs, ours.dial, place_dialled, inbound=False) is not None
            if not is_kept:
                await refuse(stream, _SECOND_PIPE, self._limits)
            return theirs.key
        except PeerFault as fault:
            raise TransportError(f"{where} does not say hello as p2pfed does: {fault}") from None
        except (OSError, asyncio.IncompleteReadError):
            raise TransportError(f"{where} closed the connection during the hello") from None
        finally:
            if not is_kept:
                await stream.abort()

    async def _welcome(self, sock: socket.socket, address: Multiaddr) -> None:
        """The listener's side of the hello; returns when the pipe has ended."""
        stream = Stream()
        task = None
        try:
            async with asyncio.timeout(self._limits.handshake_ms / 1000):
                task = await self._welcome_stream(stream, sock, address)
        except (PeerFault, TransportError, OSError, asyncio.IncompleteReadError) as error:
            _LOG.info("refused %s: %s", place(address), error or "no hello in time")
        finally:
            if task is None:
                await stream.abort()
        if task is not None:
            await asyncio.wait((task,))  # Not awaited itself: a closing listener does not cancel a pipe.

    async def _welcome_stream(
        self, stream: Stream, sock: socket.socket, address: Multiaddr
    ) -> asyncio.Task[None] | None:
        assert self._listener_tls is not None
        context, certificate_der = self._listener_tls
        certificate, where = sha256(certificate_der), place(address)
        await stream.accept(sock, context, self._limits)
        ours = self._hello(0)
        try:
            await stream.write(frame(Kind.HELLO, codec.encode(ours)))
            theirs = check_hello(await expect(stream.reader, Kind.HELLO, where), ours, None, where)
            if self._refused.has(theirs.key):
                raise TransportError("the pipe to this key was closed a moment ago")
            proof = await expect(stream.reader, Kind.PROOF, where)
            check_proof(theirs.key, Transcript("dialer", theirs, ours, certificate), proof, where)
        except (PeerFault, TransportError) as error:
            await refuse(stream, str(error), self._limits)
            raise
        said = Transcript("listener", theirs, ours, certificate)
        await stream.write(frame(Kind.PROOF, prove(self._key, said)))
        task = self._admit(stream, theirs, theirs.dial, address, inbound=True)
        if task is None:
            await refuse(stream, _SECOND_PIPE, self._limits)
        return task

    def _hello(self, dial: int) -> Hello:
        return Hello(
            PROTOCOL_VERSION, self._chain_id, self._key.public, secrets.token_bytes(32), self._process, dial
        )

    def _admit(
        self, stream: Stream, theirs: Hello, dial: int, address: Multiaddr, *, inbound: bool
    ) -> asyncio.Task[None] | None:
        """Keep a greeted pipe, in place of an older one; None where the one that stands is to be kept.

        Both ends apply this rule to the same pipes, so they keep the same one: another life of the peer
        replaces what its former life left; of one life's pipes those dialled by the smaller key win, then the
        later dial.
        """
        pipe = Pipe(
            stream,
            theirs.key,
            address=address,
            inbound=inbound,
            handler=self._handler,
            on_end=self._forget,
            limits=self._limits,
            process=theirs.process,
            dial=dial,
        )
        old = self._pipes.get(pipe.peer)
        if self._is_closed or (old and old.process == pipe.process and self._rank(old) > self._rank(pipe)):
            return None
        if old is not None:
            old.end("replaced by a newer pipe of the same key")
        self._pipes[pipe.peer] = pipe
        task = asyncio.get_running_loop().create_task(pipe.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(raise_in_loop)
        self._handler.connected(pipe.peer, address, inbound=inbound)
        return task

    def _rank(self, pipe: Pipe) -> tuple[bool, int]:
        is_dialled_by_smaller = (self._key.public < pipe.peer) is not pipe.inbound
        return is_dialled_by_smaller, pipe.dial

    def _forget(self, pipe: Pipe) -> None:
        forgotten = self._pipes.pop(pipe.peer)
        assert forgotten is pipe
        assert pipe.reason is not None
        self._handler.disconnected(pipe.peer, pipe.reason)
