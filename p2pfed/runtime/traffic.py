"""Counts what goes over a peer's pipes, by kind of message: for operators, never for the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args

from p2pfed.net.transport import Transport
from p2pfed.types.address import Multiaddr
from p2pfed.types.wire import BulkRequest, BulkResponse, ControlMessage

Direction = Literal["in", "out"]

OTHER = "other"  # What is no message: nobody should see more kinds than there are because a liar sends bytes.


def _names(kinds: Any) -> dict[int, str]:
    return {kind.__struct_config__.tag: kind.__name__ for kind in get_args(kinds)}


KINDS: dict[int, str] = _names(ControlMessage) | _names(BulkRequest) | _names(BulkResponse)


class Traffic:
    """Messages and bytes since the start, by direction and kind. Tags are read, nothing is decoded."""

    def __init__(self) -> None:
        self.messages: Counter[tuple[Direction, str]] = Counter()
        self.bytes: Counter[tuple[Direction, str]] = Counter()

    def add(self, direction: Direction, data: bytes) -> None:
        """Count one message: an array whose first element is its tag, both of one byte."""
        kind = KINDS.get(data[1], OTHER) if len(data) > 1 else OTHER
        self.messages[direction, kind] += 1
        self.bytes[direction, kind] += len(data)


class CountedTransport:
    """A transport that counts what its owner sends, asks and is answered; all else is the one inside."""

    def __init__(self, inside: Transport, traffic: Traffic) -> None:
        self.name = inside.name
        self._inside = inside
        self._traffic = traffic

    async def listen(self, host: str, port: int) -> int:
        return await self._inside.listen(host, port)

    async def dial(self, address: Multiaddr, *, timeout_ms: int) -> bytes:
        return await self._inside.dial(address, timeout_ms=timeout_ms)

    def send(self, peer: bytes, data: bytes) -> bool:
        is_queued = self._inside.send(peer, data)
        if is_queued:
            self._traffic.add("out", data)
        return is_queued

    async def request(self, peer: bytes, data: bytes, *, timeout_ms: int) -> bytes:
        self._traffic.add("out", data)
        answer = await self._inside.request(peer, data, timeout_ms=timeout_ms)
        self._traffic.add("in", answer)
        return answer

    def disconnect(self, peer: bytes, reason: str) -> None:
        self._inside.disconnect(peer, reason)

    def peers(self) -> Mapping[bytes, Multiaddr | None]:
        return self._inside.peers()

    async def close(self) -> None:
        await self._inside.close()
