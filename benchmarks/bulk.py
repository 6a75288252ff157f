"""How fast bulk flows between two processes on loopback: raw sockets, tcp, libp2p, each with uvloop as well.

    PYTHONPATH=FOLDER_WITH_UVLOOP python benchmarks/bulk.py [--turns 3] [--rows 'raw;tcp'] [--json]

A blob of 100 MiB is pulled three times, as the product does it (`runtime.pull.Pull`: a window of 8 chunks of
1 MiB, each decoded and checked against the Merkle root), but for the disk. Raw sockets carry the same bytes
unencrypted and unchecked: the limit. Rows run by turns; MB are 10^6 bytes. Of a turn the median of its pulls
counts, of a row the median of its turns; ratios are made of the turns that ran side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from statistics import median
from time import perf_counter, process_time
from typing import Any

from measuring import machine

from p2pfed.net.factory import make_transport
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import chunk_count, chunk_hashes, root_of_hashes
from p2pfed.runtime.allocator import keep_freed_memory
from p2pfed.runtime.loop import loop_factory
from p2pfed.runtime.pull import PULL_THREADS, Pull
from p2pfed.storage.assembly import Assembly
from p2pfed.storage.blob_store import chunk_of_bytes
from p2pfed.types.address import Multiaddr
from p2pfed.types.params import MIB
from p2pfed.types.wire import GetChunk, decode_request

CHAIN, BYTES, PULLS, SMALL_REQUESTS = bytes(32), 100 * MIB, 3, 200
RAW_READ_BYTES = MIB
NO_SIDE = "libp2p, no side channel"
ROWS = ["raw", "tcp", "tcp, uvloop", "libp2p", "libp2p, uvloop", NO_SIDE]


class Holder:
    """Serves the chunks of one blob from memory, and answers anything short with itself."""

    def __init__(self) -> None:
        self.data = b""
        self.hashes: list[bytes] = []

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None:
        pass

    def disconnected(self, peer: bytes, reason: str) -> None:
        pass

    async def message(self, peer: bytes, data: bytes) -> None:
        pass

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        if data == b"small":
            return data
        request = decode_request(data)
        assert isinstance(request, GetChunk)
        return codec.encode(chunk_of_bytes(self.data, request.index, self.hashes))


class InMemory(Assembly):
    """Checks chunks as the product's does and writes none."""

    def __init__(self, root: bytes) -> None:
        self.root, self.length, self.count = root, BYTES, chunk_count(BYTES)
        self._hashes = {}

    def write(self, index: int, data: bytes | memoryview, digest: bytes) -> None:
        self._hashes[index] = digest


async def hold(row: str) -> None:
    """Say port and root; serve until stdin ends; say what it cost."""
    holder = Holder()
    holder.data = os.urandom(BYTES)
    holder.hashes = chunk_hashes(holder.data)
    transport: Any = make_transport(
        row.partition(",")[0], key=PrivateKey(b"\x01" * 32), chain_id=CHAIN, handler=holder
    )
    if row == NO_SIDE:
        transport.accepted_tls = lambda sock, _: sock.close()
    port = await transport.listen("127.0.0.1", 0)
    print(json.dumps({"port": port, "root": root_of_hashes(holder.hashes).hex()}), flush=True)
    began = process_time()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"cpu_s": process_time() - began}), flush=True)
    await transport.close()


async def pull(row: str, port: int, root: bytes) -> dict[str, Any]:
    """Pull the blob and return what that took."""
    transport: Any = make_transport(
        row.partition(",")[0], key=PrivateKey(b"\x02" * 32), chain_id=CHAIN, handler=Holder()
    )
    began = perf_counter()
    peer = await transport.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
    dial_ms = (perf_counter() - began) * 1000
    times = []
    for _ in range(SMALL_REQUESTS):
        began = perf_counter()
        await transport.request(peer, b"small", timeout_ms=10_000)
        times.append(perf_counter() - began)
    is_side = transport.name == "libp2p" and transport._pipes[peer].side.is_open
    rates, cpu_began = [], process_time()
    with ThreadPoolExecutor(PULL_THREADS) as pool:
        for _ in range(PULLS):
            assembly, began = InMemory(root), perf_counter()
            assert await Pull(assembly, transport, pool, _blame).run(lambda: (peer,), set())
            rates.append(BYTES / 1e6 / (perf_counter() - began))
            assert not assembly.missing
    cpu_s = process_time() - cpu_began
    await transport.close()
    small_us = median(times) * 1e6
    return {"mb_s": median(rates), "small_us": small_us, "dial_ms": dial_ms, "cpu_s": cpu_s, "side": is_side}


def _blame(_: bytes, fault: Exception) -> None:
    raise fault


def hold_raw() -> None:
    """Send the bytes to whoever connects, as often as they are asked for."""
    data = os.urandom(BYTES)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(json.dumps({"port": server.getsockname()[1], "root": ""}), flush=True)
        connection, _ = server.accept()
        began = process_time()
        with connection:
            while connection.recv(1):
                connection.sendall(data)
    print(json.dumps({"cpu_s": process_time() - began}), flush=True)


def pull_raw(port: int) -> dict[str, Any]:
    rates, place, cpu_began = [], memoryview(bytearray(RAW_READ_BYTES)), process_time()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(PULLS):
            began, left = perf_counter(), BYTES
            connection.send(b"x")
            while left:
                left -= connection.recv_into(place, min(left, RAW_READ_BYTES))
            rates.append(BYTES / 1e6 / (perf_counter() - began))
    return {"mb_s": median(rates), "cpu_s": process_time() - cpu_began, "side": False}


def turn(row: str) -> dict[str, Any]:
    """Run one row once, in two fresh processes."""
    environment = dict(os.environ)
    command = [sys.executable, __file__, "--rows", row]
    with subprocess.Popen(
        [*command, "--part", "hold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        said = json.loads(holder.stdout.readline())
        part = f"pull:{said['port']}:{said['root']}"
        pulled = subprocess.run([*command, "--part", part], capture_output=True, text=True, check=False)
        if pulled.returncode:
            raise SystemExit(pulled.stderr)
        figures: dict[str, Any] = json.loads(pulled.stdout.splitlines()[-1])
        figures["cpu_s"] += json.loads(holder.communicate()[0].splitlines()[-1])["cpu_s"]
        return figures


def run_part(row: str, part: str) -> None:
    """Be one of the two processes."""
    name, _, rest = part.partition(":")
    port, _, root = rest.partition(":")
    if row == "raw":
        return hold_raw() if name == "hold" else print(json.dumps(pull_raw(int(port))))
    keep_freed_memory()  # As `p2pfed run` does.
    factory: Callable[[], Any] = loop_factory() if row.endswith("uvloop") else asyncio.new_event_loop
    work: Coroutine[Any, Any, Any] = (
        hold(row) if name == "hold" else pull(row, int(port), bytes.fromhex(root))
    )
    with asyncio.Runner(loop_factory=factory) as runner:
        figures = runner.run(work)
    if figures is not None:
        print(json.dumps(figures))
    return None


def summary(row: str, turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a row: medians of its turns, and ratios to the turns beside them."""
    own = turns[row]
    rates = [figures["mb_s"] for figures in own]
    found = {
        "row": row,
        "mb_s": round(median(rates)),
        "turns_mb_s": [round(rate) for rate in rates],
        "cpu_s_per_gb": round(median(f["cpu_s"] for f in own) * 1e9 / (PULLS * BYTES), 2),
    }
    if "small_us" in own[0]:
        found |= {key: round(median(f[key] for f in own), 1) for key in ("small_us", "dial_ms")}
    if row.startswith("libp2p"):
        found["has_side_channel"] = [figures["side"] for figures in own]
    for name, other in (("of_raw", "raw"), ("of_tcp", row.replace("libp2p", "tcp"))):
        if other in turns and other != row:
            ratios = [ours["mb_s"] / theirs["mb_s"] for ours, theirs in zip(own, turns[other], strict=True)]
            found[name] = round(median(ratios), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", help="separated by ';'; by default all that can run: " + "; ".join(ROWS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        run_part(args.rows, args.part)
        return
    able = [row for row in ROWS if find_spec("uvloop") or "uvloop" not in row]
    rows = (
        args.rows.split(";") if args.rows else [r for r in able if find_spec("libp2p") or "libp2p" not in r]
    )
    load = os.getloadavg()[0]
    turns: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    for _ in range(args.turns):
        for row in rows:
            turns[row].append(turn(row))
    for row in rows:
        found = summary(row, turns) | machine() | {"load": round(load, 2)}
        print(json.dumps(found) if args.json else "\n".join(f"{k:18} {v}" for k, v in found.items()) + "\n")


if __name__ == "__main__":
    main()
