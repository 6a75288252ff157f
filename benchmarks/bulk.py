"""How fast bulk flows: 100 MiB in 1 MiB chunks between two processes on loopback; a small request's time.

Run `python benchmarks/bulk.py [tcp|libp2p]`; it prints MB/s (10^6 bytes a second), the median time of a small
request, and how much memory each process holds.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from p2pfed.net.factory import make_transport
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import MIB

CHAIN, CHUNKS, WINDOW, SMALL_REQUESTS = bytes(32), 100, 8, 200
CHUNK = os.urandom(MIB)


class Holder:
    """Answers `big` with a chunk, anything else with itself."""

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        pass

    def disconnected(self, peer: bytes, reason: str) -> None:
        pass

    async def message(self, peer: bytes, data: bytes) -> None:
        pass

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        return CHUNK if data == b"big" else data


async def hold(name: str) -> None:
    """Serve until stdin ends, then print the memory held."""
    transport = make_transport(name, key=PrivateKey(b"\x01" * 32), chain_id=CHAIN, handler=Holder())
    print(await transport.listen("127.0.0.1", 0), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(f"holder: {resident_mb():.0f} MB resident", flush=True)
    await transport.close()


async def pull(name: str, port: int) -> None:
    """Pull all chunks, a window at a time."""
    transport = make_transport(name, key=PrivateKey(b"\x02" * 32), chain_id=CHAIN, handler=Holder())
    began = perf_counter()
    peer = await transport.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
    print(f"{name}: dial {(perf_counter() - began) * 1000:.1f} ms")
    times = []
    for _ in range(SMALL_REQUESTS):
        began = perf_counter()
        await transport.request(peer, b"small", timeout_ms=10_000)
        times.append(perf_counter() - began)
    print(f"{name}: small request {median(times) * 1e6:.0f} us (median of {SMALL_REQUESTS})")
    left = iter(range(CHUNKS))

    async def worker() -> None:
        for _ in left:
            assert len(await transport.request(peer, b"big", timeout_ms=60_000)) == MIB

    for _ in range(3):
        left = iter(range(CHUNKS))
        began = perf_counter()
        await asyncio.gather(*(worker() for _ in range(WINDOW)))
        print(f"{name}: {CHUNKS * MIB / 1e6 / (perf_counter() - began):.0f} MB/s")
    print(f"puller: {resident_mb():.0f} MB resident")
    await transport.close()


def resident_mb() -> float:
    """Return the memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "tcp"
    if sys.argv[2:] == ["hold"]:
        asyncio.run(hold(name))
        return
    command = [sys.executable, __file__, name, "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        asyncio.run(pull(name, int(holder.stdout.readline())))
        print(holder.communicate()[0].strip())


if __name__ == "__main__":
    main()
