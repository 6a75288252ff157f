"""A peer in a process of its own, to be stopped and killed: prints its port, answers until stdin ends."""

from __future__ import annotations

import asyncio
import sys

from support.transports import make_transport

from p2pfed.net.transport import Transport
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr


class Echo:
    """Sends every message back, answers every request with itself, and never answers `hang`."""

    transport: Transport

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        pass

    def disconnected(self, peer: bytes, reason: str) -> None:
        pass

    async def message(self, peer: bytes, data: bytes) -> None:
        self.transport.send(peer, data)

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        if data == b"hang":
            await asyncio.Event().wait()
        return data


async def main(name: str, secret: str, chain_id: str) -> None:
    handler = Echo()
    handler.transport = make_transport(
        name, key=PrivateKey(bytes.fromhex(secret)), chain_id=bytes.fromhex(chain_id), handler=handler
    )
    print(await handler.transport.listen("127.0.0.1", 0), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await handler.transport.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
