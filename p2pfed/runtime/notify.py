"""Tell a supervisor such as systemd how a peer does: ready, its height, alive, stopping (sd_notify(3)).

Nothing is told where NOTIFY_SOCKET is not set. What is told is for people and for restarts; the peer doesn't
depend on anybody listening.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from p2pfed.runtime.feed import Entry, Feed


class Supervisor:
    """The other end of NOTIFY_SOCKET. It never makes the peer wait: a message that can't be sent is dropped.

    Args:
        variables: The environment; WATCHDOG_USEC says within how many microseconds a sign of life is wanted.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        name = variables.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name  # An abstract one.
        microseconds = variables.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and self._address else 0.0

    def tell(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.sendto(text.encode(), self._address)

    def listen(self, entry: Entry) -> None:
        """Take what the peer publishes: it is ready when it listens, and every block is a line of status."""
        if entry.event == "peer.started":
            self.tell(f"READY=1\nSTATUS=height {entry.data.get('height', 0)}")
        elif entry.event == "block.committed":
            self.tell(f"STATUS=height {entry.data['height']}")


@asynccontextmanager
async def supervised(feed: Feed, variables: Mapping[str, str]) -> AsyncIterator[None]:
    """Tell the supervisor of a peer that runs inside; a loop that hangs says no more that it lives."""
    supervisor = Supervisor(variables)
    feed.listen(supervisor.listen)

    async def live() -> None:
        while True:
            supervisor.tell("WATCHDOG=1")
            await asyncio.sleep(supervisor.watchdog_s / 2)

    living = asyncio.create_task(live(), name="watchdog") if supervisor.watchdog_s else None
    try:
        yield
    finally:
        supervisor.tell("STOPPING=1")
        if living is not None:
            living.cancel()
