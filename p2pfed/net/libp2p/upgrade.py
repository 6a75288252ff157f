"""From a socket to authenticated streams: the calls into py-libp2p (multistream-select, noise, yamux)."""

from __future__ import annotations

import logging
from typing import Any

from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID, Multiselect
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils import encode_delim

from p2pfed.errors import MalformedMessage
from p2pfed.net.libp2p.limits import BUFFERED_BYTES_MAX, WINDOW_BYTES_MAX
from p2pfed.net.libp2p.raw_stream import RawStream
from p2pfed.net.libp2p.stream import Stream, StreamGone
from p2pfed.types.address import peer_id, public_key_of


class UpgradeFailed(Exception):
    """A socket became no authenticated connection; the text is one clause."""


class Upgrader:
    """Turns sockets into multiplexed connections that belong to keys."""

    def __init__(self, secret: bytes, public: bytes) -> None:
        # The library reports peers' misdeeds as errors of its own; ours is the reason of each disconnect.
        logging.getLogger("libp2p").setLevel(logging.CRITICAL)
        limit_windows()
        key_pair = create_new_key_pair(secret)
        assert ID.from_pubkey(key_pair.public_key).to_base58() == peer_id(public)
        self.key_protobuf: bytes = key_pair.public_key.serialize()
        noise = NoiseTransport(key_pair, noise_privkey=create_new_x25519_key_pair().private_key)
        self._upgrader = TransportUpgrader({NOISE: noise}, {TProtocol(yamux.PROTOCOL_ID): yamux.Yamux})

    async def upgrade(self, raw: RawStream) -> tuple[bytes, Any]:
        """Return the peer's public key and the multiplexed connection.

        Raises:
            UpgradeFailed: The other end speaks something else, lies about its key, or left.
        """
        muxer: Any
        try:
            session = await self._secure(raw)
            peer = public_key_of(session.get_remote_peer().to_base58())
            muxer = await self._upgrader.upgrade_connection(session, session.get_remote_peer())
        except MalformedMessage:
            raise UpgradeFailed("its key is not of the kind secp256k1") from None
        # Here the library parses a stranger's bytes, and raises whatever its parsers and ciphers raise.
        # Nothing of ours runs inside, so no bug of ours hides, and a stranger must not be able to end us.
        except Exception as error:
            raise UpgradeFailed(raw.failure or f"the handshake failed ({_innermost(error)})") from None
        raw.guard = lambda: _excess(muxer)
        raw.has_unread = lambda: any(muxer.stream_buffers.values())
        return peer, muxer

    async def _secure(self, raw: Any) -> Any:
        security = self._upgrader.security_multistream
        if not raw.is_initiator:
            return await security.secure_inbound(raw)
        # Whoever answers proves a key, and our caller says whether it is the right one.
        anybody: Any = None
        return await security.secure_outbound(raw, anybody)


async def run_muxer(muxer: Any) -> None:
    """Read and dispatch the connection's frames until it ends."""
    # As in `upgrade`: the library alone, on a stranger's bytes. The reason is in the raw stream.
    try:
        await muxer.start()
    except Exception as error:
        logging.getLogger("libp2p").debug("yamux ended: %s", error)


def limit_windows() -> None:
    """Let no stream's window grow beyond ours; the library's maximum has no setting."""
    yamux.MAX_WINDOW_SIZE = WINDOW_BYTES_MAX


def _excess(muxer: Any) -> str:
    """Say where a peer sent more than the window allows: the library only warns and keeps buffering."""
    for unread in muxer.stream_buffers.values():
        if len(unread) > BUFFERED_BYTES_MAX:
            return f"it sent {len(unread)} bytes into a window of {WINDOW_BYTES_MAX}"
    return ""


async def open_stream(muxer: Any, raw: RawStream, protocol: str, first: bytes, *, stall_s: float) -> Stream:
    """Return a new stream of `protocol` on which `first` is sent already: negotiation costs no round trip.

    Raises:
        StreamGone: The connection ended or the peer doesn't speak `protocol`.
    """
    try:
        muxed = await muxer.open_stream()
    except BaseLibp2pError:
        raise StreamGone(raw.failure or "the connection ended") from None
    stream = Stream(muxed, raw, stall_s=stall_s)
    greeting = encode_delim(MULTISELECT_PROTOCOL_ID.encode()) + encode_delim(protocol.encode())
    try:
        await stream.write(greeting + first, unsent_bytes=BUFFERED_BYTES_MAX)
        communicator = MultiselectCommunicator(_as_library(stream))
        answers = await communicator.read(), await communicator.read()
    except BaseException:
        await stream.reset()
        raise
    if answers != (MULTISELECT_PROTOCOL_ID, protocol):
        await stream.reset()
        raise StreamGone(f"it does not speak {protocol}")
    return stream


async def accept_stream(muxer: Any, raw: RawStream, *, stall_s: float) -> Stream:
    """Return the next stream that the peer opens; raises StreamGone at the end of the connection."""
    try:
        return Stream(await muxer.accept_stream(), raw, stall_s=stall_s)
    except BaseLibp2pError:
        raise StreamGone(raw.failure or "the connection ended") from None


async def accept_protocol(stream: Stream, protocols: tuple[str, ...]) -> str:
    """Return which of `protocols` the peer opened `stream` for.

    Raises:
        StreamGone: None of them.
    """
    multiselect = Multiselect({TProtocol(name): None for name in protocols})
    # The library alone on a stranger's bytes, as in `upgrade`; StreamGone is ours and passes.
    try:
        protocol, _ = await multiselect.negotiate(MultiselectCommunicator(_as_library(stream)))
    except StreamGone:
        raise
    except Exception as error:
        raise StreamGone(f"it agreed on no protocol ({_innermost(error)})") from None
    assert protocol is not None
    return str(protocol)


def _as_library(stream: Stream) -> Any:
    """Return `stream` as what the library reads and writes: it asks for a base class."""
    return stream


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
