"""Make the transport that genesis names; what the others need is never imported."""

from __future__ import annotations

from importlib.util import find_spec

from p2pfed.errors import LocalError
from p2pfed.net.libp2p import LIBP2P_MISSING
from p2pfed.net.limits import DEFAULT_LIMITS, Limits
from p2pfed.net.transport import Transport, TransportHandler
from p2pfed.primitives.keys import PrivateKey


def make_transport(
    name: str, *, key: PrivateKey, chain_id: bytes, handler: TransportHandler, limits: Limits = DEFAULT_LIMITS
) -> Transport:
    """Return the transport called `name` for the peer with `key` in the network `chain_id`.

    Raises:
        LocalError: No such transport, or it is not installed; says how to install it.
    """
    if name == "tcp":
        from p2pfed.net.tcp.transport import TcpTransport

        return TcpTransport(key=key, chain_id=chain_id, handler=handler, limits=limits)
    if name == "libp2p":
        if find_spec("libp2p") is None:
            raise LocalError(LIBP2P_MISSING)
        from p2pfed.net.libp2p.transport import Libp2pTransport

        return Libp2pTransport(key=key, chain_id=chain_id, handler=handler, limits=limits)
    if name == "memory":
        raise LocalError("the memory transport lives in one process: make it with MemoryNetwork.transport()")
    raise LocalError(f"no transport is called {name!r}; there are tcp and libp2p")
