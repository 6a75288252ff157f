"""What every transport offers: listen, dial, small messages pushed, bulk requests answered.

One conformance suite (`tests/net/`) runs against every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from p2pfed.errors import P2PFedError
from p2pfed.types.address import Multiaddr


class TransportError(P2PFedError):
    """A pipe could not be opened or a request not answered; the text names the peer and the reason."""


class TransportHandler(Protocol):
    """The owner of a transport; called on the owner's asyncio loop."""

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        """A pipe to `peer` (public key) is open.

        `address` is where it was dialled (with its key), or where it was seen from (without).
        """

    def disconnected(self, peer: bytes, reason: str) -> None:
        """The pipe to `peer` is closed; the reason is one clause for the log."""

    async def message(self, peer: bytes, data: bytes) -> None:
        """A control message came in. While this waits, that pipe alone is not read: back-pressure."""

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        """Answer a bulk request; raising PeerFault ends the pipe."""


class Transport(Protocol):
    """Authenticated pipes of one peer. A second pipe with the same key replaces the first."""

    name: str

    async def listen(self, host: str, port: int) -> int:
        """Accept pipes on `host` and return the port (chosen by the system where `port` is 0).

        Raises:
            LocalError: The port is in use or the address is not ours; says which and what to do.
        """

    async def dial(self, address: Multiaddr, *, timeout_ms: int) -> bytes:
        """Open a pipe and return the peer's key; it must equal `address.public` where that is given.

        Raises:
            TransportError: Refused, timed out, another key, chain, version or transport.
        """

    def send(self, peer: bytes, data: bytes) -> bool:
        """Queue a control message; False where there is no pipe or its queue is full (then it is closed).

        Raises:
            OutOfBounds: `data` is longer than CONTROL_BYTES_MAX; refused at the sender.
        """

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        """Send a bulk request and return its answer, at most RESPONSE_BYTES_MAX.

        Raises:
            TransportError: No pipe, the deadline passed, or the pipe closed meanwhile.
        """

    def disconnect(self, peer: bytes, reason: str) -> None:
        """Close the pipe to `peer`."""

    def peers(self) -> Mapping[bytes, Multiaddr | None]:
        """Return the open pipes."""

    async def close(self) -> None:
        """Stop listening and close every pipe; returns when nothing of this transport runs any more."""
