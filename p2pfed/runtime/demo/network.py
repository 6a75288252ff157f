"""Run a testnet as processes of our own, and collect every event that its peers report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from p2pfed.errors import LocalError
from p2pfed.runtime.testnet import Testnet
from p2pfed.storage.home import Home

EVENT_BYTES_MAX = 1 << 20
STOP_S = 10  # From the polite signal to the rude one.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PORT_STEP = 100
PORT_LAST = 60_000


class NetworkRun(Struct):
    """What became of a testnet: events by peer name in the order of arrival, and exit codes."""

    folder: Path
    testnet: Testnet
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    took_s: float = 0.0
    is_overdue: bool = False

    def home(self, name: str) -> Home:
        return Home(self.folder / name)

    @property
    def honest(self) -> tuple[str, ...]:
        return tuple(peer.name for peer in self.testnet.peers if not peer.byzantine)


class Terminated(LocalError):
    """Somebody asked this process to end; the exit code is 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; every peer is stopped")
        self.exit_code = 128 + number


def free_ports(count: int, first: int) -> int:
    """Return the lowest port from `first` on, in steps, where `count` ports in a row are free on loopback.

    Raises:
        LocalError: There is no such row of ports.
    """
    for start in range(first, PORT_LAST, PORT_STEP):
        if all(_is_free(port) for port in range(start, start + count)):
            return start
    raise LocalError(f"no {count} free ports in a row from {first} on; stop what uses them")


async def run_network(
    folder: Path, testnet: Testnet, timeout_s: float, on_event: Callable[[str, dict[str, Any]], None]
) -> NetworkRun:
    """Start every peer, wait until all have ended, and return what they reported.

    A peer that is still there after `timeout_s` is stopped. However this call ends, no peer is left behind.

    Raises:
        Terminated: Ctrl-C, SIGTERM or SIGHUP came; a second one changes nothing.
    """
    with ended_by_signals():
        return await _run(NetworkRun(folder, testnet), timeout_s, on_event)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Cancel the task that runs this at the first ending signal, and say so once it is done.

    Raises:
        Terminated: Ctrl-C, SIGTERM or SIGHUP came; a second one changes nothing.
    """
    loop, signals = asyncio.get_running_loop(), list[int]()
    handled = [number for number in ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, _cancel, asyncio.current_task(), number, signals)
    try:
        yield
    except asyncio.CancelledError:
        if not signals:
            raise  # Our own caller's doing.
        raise Terminated(signals[0]) from None
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _run(
    run: NetworkRun, timeout_s: float, on_event: Callable[[str, dict[str, Any]], None]
) -> NetworkRun:
    folder, testnet = run.folder, run.testnet
    loop = asyncio.get_running_loop()
    started = loop.time()
    processes: dict[str, asyncio.subprocess.Process] = {}
    try:
        for peer in testnet.peers:
            processes[peer.name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "p2pfed", "run", "--home", str(folder / peer.name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=EVENT_BYTES_MAX,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop them in order.
                env=os.environ | {"P2PFED_LOG__FORMAT": "json", "P2PFED_LOG__LEVEL": "debug"},
            )  # fmt: skip
        readers = [_read(name, process, run, on_event) for name, process in processes.items()]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*readers)
        except TimeoutError:
            run.is_overdue = True
    finally:
        await _stop(processes)
    run.exit_codes = {name: process.returncode for name, process in processes.items()}
    run.took_s = loop.time() - started
    return run


def _cancel(task: asyncio.Task[Any] | None, number: int, signals: list[int]) -> None:
    assert task is not None
    if not signals:
        task.cancel()
    signals.append(number)


async def _read(
    name: str,
    process: asyncio.subprocess.Process,
    run: NetworkRun,
    on_event: Callable[[str, dict[str, Any]], None],
) -> None:
    """Take in the lines of one peer until it ends; what is no event goes to its output.log."""
    assert process.stderr is not None
    with (run.folder / name / "logs" / "output.log").open("ab") as output:
        while line := await process.stderr.readline():
            output.write(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            run.events.append((name, event))
            on_event(name, event)
    await process.wait()


async def _stop(processes: dict[str, asyncio.subprocess.Process]) -> None:
    running = [process for process in processes.values() if process.returncode is None]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                for process in running:
                    await process.wait()
        running = [process for process in running if process.returncode is None]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
