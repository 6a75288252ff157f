"""Pipes of a network of real processes that can be broken: a small forwarder on loopback for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from p2pfed.runtime.testnet import Pipe
from p2pfed.sim.faults import Fault, divides

BREAKING = ("disconnect", "flapping")  # Open connections are reset and new ones closed unheard.
HOLDING = (
    "one_way",
    "partition",
    "ring",
    "bridge",
)  # Bytes wait until it is over, as in a TCP without a way.
LOOPBACK = "127.0.0.1"
PIECE_BYTES = 1 << 16
HOLD_POLL_S = 0.05


class Wires:
    """Forwards each pipe of `pipes` from its port to where its listener listens.

    Args:
        pipes: Who dials whom, each at a port of its own.
        listeners: The port of each peer.
        faults: What stands between peers and when; all other kinds of faults are not ours.
        now_ms: The time of the run, in which faults count; negative before it.
    """

    def __init__(
        self,
        pipes: Sequence[Pipe],
        listeners: Sequence[int],
        faults: Sequence[Fault],
        now_ms: Callable[[], int],
    ) -> None:
        self._pipes = pipes
        self._listeners = listeners
        self._faults = faults
        self._now_ms = now_ms
        self._open: dict[asyncio.Task[None], Pipe] = {}

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Forward as long as this lasts."""
        servers = [
            await asyncio.start_server(self._accepting(pipe), LOOPBACK, pipe.port) for pipe in self._pipes
        ]
        try:
            yield
        finally:
            for server in servers:
                server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def tear(self) -> None:
        """Reset what a fault breaks now; called often enough, that is as soon as it begins."""
        for task, pipe in self._open.items():
            if self._is_broken(pipe):
                task.cancel()

    def _is_broken(self, pipe: Pipe) -> bool:
        return self._stands(BREAKING, pipe.dialler, pipe.listener)  # These kinds know no direction.

    def _stands(self, kinds: Sequence[str], sender: int, receiver: int) -> bool:
        """Answer whether a fault of these kinds is in the way from `sender` to `receiver` now."""
        now_ms = self._now_ms()
        return any(
            fault.kind in kinds and fault.is_on(now_ms) and divides(fault, sender, receiver, now_ms)
            for fault in self._faults
        )

    def _accepting(self, pipe: Pipe) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._forward(pipe, reader, writer))
            self._open[task] = pipe
            task.add_done_callback(self._open.pop)

        return accept

    async def _forward(self, pipe: Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until one end closes; a cancelled pipe is reset at both ends at once."""
        writers = [writer]
        try:
            if self._is_broken(pipe):
                return
            with suppress(OSError):  # The listener is down, or one end has gone: so does the other.
                there, back = await asyncio.open_connection(LOOPBACK, self._listeners[pipe.listener])
                writers.append(back)
                ways = [
                    asyncio.create_task(self._carry(reader, back, pipe.dialler, pipe.listener)),
                    asyncio.create_task(self._carry(there, writer, pipe.listener, pipe.dialler)),
                ]
                try:
                    done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                for way in done:
                    way.result()
                for one in writers:
                    one.close()  # What was written still arrives.
                for one in writers:
                    await one.wait_closed()
        finally:
            for one in writers:
                one.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: int, receiver: int
    ) -> None:
        while data := await reader.read(PIECE_BYTES):
            while self._stands(HOLDING, sender, receiver):  # noqa: ASYNC110 - the clock ends it
                await asyncio.sleep(HOLD_POLL_S)
            writer.write(data)
            await writer.drain()
