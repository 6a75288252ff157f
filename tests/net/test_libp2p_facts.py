"""Facts about py-libp2p 0.8.1 that we work around; a test that fails here says: take the work-around out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("libp2p", reason="needs the extra p2pfed[libp2p]")

import libp2p
import multiaddr
import trio
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.io.exceptions import IncompleteReadError
from libp2p.io.utils import read_exactly
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import YamuxStream
from trio.testing import MockClock

from p2pfed.net.libp2p.limits import WINDOW_BYTES_MAX
from p2pfed.net.libp2p.stream import Stream, StreamGone
from p2pfed.net.libp2p.upgrade import limit_windows


class Drip:
    """Reads one byte at a time."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, _: int) -> bytes:
        self.reads += 1
        return b"x"


class Wire:
    """The least of a connection that a yamux stream writes to, and of the raw stream below."""

    failure = ""

    def __init__(self) -> None:
        self.written = b""
        self.stream_buffers: dict[int, bytearray] = {}

    async def _write_frame(self, data: bytes) -> None:
        self.written += data[12:]

    def rtt(self) -> float:
        return 0.001

    async def until_unsent_below(self, _: int) -> None:
        return

    async def until_progress(self) -> None:
        await trio.sleep(1)

    def note_read(self) -> None:
        return


def yamux_stream(wire: Wire) -> Any:
    connection: Any = wire
    return YamuxStream(1, connection, is_initiator=True)


def run(work: Any) -> Any:
    """Run on a clock that jumps to the next deadline, so that seconds cost nothing."""
    return trio.run(work, clock=MockClock(autojump_threshold=0))


def test_the_library_gives_up_after_101_partial_reads_and_we_do_not() -> None:
    drip: Any = Drip()
    assert trio.run(read_exactly, drip, 100) == b"x" * 100
    with pytest.raises(IncompleteReadError):
        trio.run(read_exactly, Drip(), 102)
    wire: Any = Wire()
    assert trio.run(Stream(Drip(), wire, stall_s=20).read_exactly, 1000) == b"x" * 1000


async def _open_window_late(muxed: Any, seconds: float) -> None:
    await trio.sleep(seconds)
    muxed.send_window = 1000


def test_the_library_resets_a_write_after_5_s_without_window_and_we_wait_longer() -> None:
    async def write(with_library: bool) -> tuple[bytes, float]:
        wire: Any = Wire()
        muxed = yamux_stream(wire)
        muxed.send_window = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_open_window_late, muxed, 6.0)
            began = trio.current_time()
            writer = muxed if with_library else Stream(muxed, wire, stall_s=20)
            await writer.write(b"data")
        return wire.written, trio.current_time() - began

    with pytest.raises(ExceptionGroup) as caught:
        run(lambda: write(True))
    assert caught.group_contains(MuxedStreamError, match="5 seconds")
    written, took = run(lambda: write(False))
    assert written == b"data"
    assert 6 <= took < 8


def test_a_write_that_nobody_takes_ends_at_the_stall_time() -> None:
    async def write() -> None:
        wire: Any = Wire()
        muxed = yamux_stream(wire)
        muxed.send_window = 0
        await Stream(muxed, wire, stall_s=20).write(b"data")

    with pytest.raises(StreamGone, match="20 s"):
        run(write)


def test_the_library_grows_windows_to_16_mib_unless_its_constant_is_changed() -> None:
    async def grown(limited: bool) -> int:
        from libp2p.stream_muxer.yamux import yamux

        if limited:
            limit_windows()
        else:
            yamux.MAX_WINDOW_SIZE = 16 << 20
        stream = yamux_stream(Wire())
        for _ in range(10):
            stream._apply_autotune_epoch(0)
        return int(stream.target_recv_window)

    assert trio.run(grown, False) == 16 << 20
    assert trio.run(grown, True) == WINDOW_BYTES_MAX


def test_the_swarm_is_slow_to_dial_remembers_a_failed_dial_and_shares_its_port() -> None:
    """Why sockets are ours: the library's swarm costs 250 ms a dial and refuses a restarted peer for 60 s."""

    async def look() -> SimpleNamespace:
        listener = libp2p.new_host(key_pair=create_new_key_pair(bytes(31) + b"\x01"))
        dialler = libp2p.new_host(key_pair=create_new_key_pair(bytes(31) + b"\x02"))
        port = _free_port()
        info = PeerInfo(listener.get_id(), [multiaddr.Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")])
        async with dialler.run(listen_addrs=[]):
            with pytest.raises(SwarmException):
                await dialler.connect(info)
            async with listener.run(listen_addrs=[multiaddr.Multiaddr(f"/ip4/0.0.0.0/tcp/{port}")]):
                with pytest.raises(SwarmException) as refused:
                    await dialler.connect(info)
                third = libp2p.new_host(key_pair=create_new_key_pair(bytes(31) + b"\x04"))
                async with third.run(listen_addrs=[]):
                    began = trio.current_time()
                    await third.connect(info)
                    took = trio.current_time() - began
                other = libp2p.new_host(key_pair=create_new_key_pair(bytes(31) + b"\x03"))
                async with other.run(listen_addrs=[multiaddr.Multiaddr(f"/ip4/0.0.0.0/tcp/{port}")]):
                    shared = True
                addresses = [str(address) for address in listener.get_addrs()]
        return SimpleNamespace(refused=str(refused.value), took=took, addresses=addresses, shared=shared)

    seen = trio.run(look)
    assert seen.took >= 0.25
    assert seen.refused
    assert seen.shared
    assert any("/0.0.0.0/" in address for address in seen.addresses)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_LOADED = """
import sys
{first}
import {module}
assert ("libp2p.host.basic_host" in sys.modules) is {is_heavy}, len(sys.modules)
import libp2p
assert libp2p.new_host.__module__ == "libp2p"
"""


@pytest.mark.parametrize(
    ("first", "module", "is_heavy"),
    [
        pytest.param("", "libp2p.exceptions", True, id="the library"),
        pytest.param(
            "from p2pfed.net.libp2p.library import load_lightly; load_lightly()",
            "p2pfed.net.libp2p.trio_thread",
            False,
            id="ours",
        ),
    ],
)
def test_a_module_of_the_library_loads_all_of_it_and_we_load_what_we_use(
    first: str, module: str, *, is_heavy: bool
) -> None:
    code = _LOADED.format(first=first, module=module, is_heavy=is_heavy)
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": root})
