"""Real peers as processes of the command line, and what their own logs say happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from p2pfed.net.libp2p import LIBP2P_MISSING
from p2pfed.runtime.demo.network import free_ports
from p2pfed.runtime.testnet import load_testnet
from p2pfed.storage.home import Home

Event = dict[str, Any]

PATIENCE_S = 60.0  # For what takes a second or two: several test processes may share two cores.
POLL_S = 0.01
_LINE_START = b'{"schema": "p2pfed.event/1"'
PORTS_FIRST, PORTS_LAST = 10_000, 18_000  # Below those of `lab run` and those that systems hand out.
TRANSPORTS = (
    "tcp",
    pytest.param("libp2p", marks=pytest.mark.skipif(find_spec("libp2p") is None, reason=LIBP2P_MISSING)),
)


def p2pfed(
    *arguments: str | Path, timeout_s: float = 120, host: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess:
    """Run a command to its end, `host` put before it; return what it printed and its exit code."""
    return subprocess.run(
        [*host, sys.executable, "-m", "p2pfed", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=child_environment(environment),
        check=False,
    )


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with `extra`, and one thread for each process's arithmetic."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | extra


def wait_until(is_true: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true value of `is_true()`; fail, naming `what`, where none comes in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = is_true()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(POLL_S)


class Peer:
    """A home folder, the process that runs it if one does, and the events of logs/peer.log.

    A log survives its writer, so events are read the same way before and after a kill. Positions in
    `events` are the bookmarks: `mark()` now, then `wait(..., after=mark)`.
    """

    def __init__(self, home: Path, host: Sequence[str] = ()) -> None:
        """`host` is put before the command, so that the peer runs on another host."""
        self.host = list(host)
        self.home = Home(home)
        self.name = home.name
        self.process: subprocess.Popen[bytes] | None = None
        self._events: list[Event] = []
        self._offset = 0

    def start(self, *arguments: str, **environment: str) -> None:
        """Start the peer; it is running, not yet connected, when this returns."""
        self.home.logs.mkdir(parents=True, exist_ok=True)
        with (self.home.logs / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *self.host,
                    sys.executable,
                    "-m",
                    "p2pfed",
                    "run",
                    "--home",
                    str(self.home.path),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=child_environment(environment),
            )

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait_for_end(self, timeout_s: float = PATIENCE_S) -> int:
        """Return the exit code once the process has ended."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def kill(self) -> int:
        """End the process as a power cut would; return when it happened, ms since 1970."""
        killed_ms = time.time_ns() // 1_000_000
        self.send(signal.SIGKILL)
        self.wait_for_end()
        return killed_ms

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the peer to stop; return its exit code."""
        self.send(number)
        return self.wait_for_end()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> str:
        """What the process printed: the log once more, and a traceback if there ever was one."""
        path = self.home.logs / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def events(self) -> list[Event]:
        """Everything logged so far; a line that a kill cut in two is left out."""
        path = self.home.logs / "peer.log"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._offset)
                *lines, _ = file.read().split(b"\n")
            self._offset += sum(len(line) + 1 for line in lines)
            for line in lines:
                _, start, rest = line.rpartition(
                    _LINE_START
                )  # What a kill left of a line may stand before it.
                self._events.append(json.loads(start + rest))
        return self._events

    def mark(self) -> int:
        return len(self.events)

    def end(self) -> None:
        """Leave no process behind."""
        if self.is_running:
            self.kill()

    def find(self, event: str, after: int = 0, **data: Any) -> Event | None:
        """Return the first event of that name, with these values, from position `after` on."""
        for found in self.events[after:]:
            if found["event"] == event and all(found.get(name) == value for name, value in data.items()):
                return found
        return None

    def wait_where(
        self, event: str, is_meant: Callable[[Event], bool], what: str, timeout_s: float = PATIENCE_S
    ) -> Event:
        """Return the first event of that name that `is_meant`."""

        def look() -> Event | None:
            return next((e for e in self.events if e["event"] == event and is_meant(e)), None)

        found: Event = wait_until(look, f"{what} at {self.name}", timeout_s)
        return found

    def wait(self, event: str, after: int = 0, timeout_s: float = PATIENCE_S, **data: Any) -> Event:
        """Return the first such event; fail where none comes in time, or the peer has ended without it."""

        def look() -> Event | None:
            has_ended = self.process is not None and self.process.poll() is not None
            found = self.find(event, after, **data)
            assert found is not None or not has_ended, f"{self.name} ended first:\n{self.output[-2000:]}"
            return found

        return wait_until(look, f"{event} {data} at {self.name}", timeout_s)

    @property
    def height(self) -> int:
        """The last final height by the log."""
        return max((e["height"] for e in self.events if e["event"] == "block.committed"), default=0)

    def wait_for_height(self, height: int, timeout_s: float = PATIENCE_S) -> Event:
        return self.wait("block.committed", timeout_s=timeout_s, height=height)

    def wait_for_blocks(self, count: int, timeout_s: float = PATIENCE_S) -> Event:
        """Wait until `count` more blocks are final than now."""
        return self.wait_for_height(self.height + count, timeout_s)


class Network:
    """The peers of one testnet folder."""

    def __init__(self, folder: Path, transport: str) -> None:
        self.folder = folder
        self.transport = transport
        made = load_testnet(folder)
        self.chain = made.chain
        self.keys = [bytes.fromhex(peer.key) for peer in made.peers]
        self.peers = [Peer(folder / peer.name) for peer in made.peers]

    def start(self) -> None:
        for peer in self.peers:
            peer.start()

    def wait_for_height(self, height: int, timeout_s: float = PATIENCE_S) -> None:
        for peer in self.peers:
            peer.wait_for_height(height, timeout_s)

    def others(self, *without: Peer) -> list[Peer]:
        return [peer for peer in self.peers if peer not in without]

    def end(self) -> None:
        """Leave no process behind."""
        for peer in self.peers:
            peer.end()


def create(folder: Path, peers: int = 4, transport: str = "tcp", *options: str) -> Network:
    """Found a testnet without a last height, quick to train, on ports that are free now."""
    port = free_ports(2 * peers, PORTS_FIRST + os.getpid() * 64 % (PORTS_LAST - PORTS_FIRST))
    created = p2pfed(
        "testnet", "create", "--peers", str(peers), "--transport", transport, "--output", folder,
        "--port", str(port), "--http-port", str(port + peers), "--linger", "2", *options,
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    return Network(folder, transport)


@contextmanager
def network(folder: Path, peers: int = 4, transport: str = "tcp", *options: str) -> Iterator[Network]:
    """A testnet whose peers run and are gone afterwards."""
    made = create(folder, peers, transport, *options)
    try:
        made.start()
        yield made
    finally:
        made.end()


def tracebacks(peers: Sequence[Peer]) -> list[str]:
    """Return the output of every peer that printed a traceback."""
    return [f"{peer.name}:\n{peer.output}" for peer in peers if "Traceback" in peer.output]
