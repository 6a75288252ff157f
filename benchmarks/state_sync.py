"""How fast a joining peer takes a state: snapshot parts over `tcp` from one holder, in two real processes.

Run `python benchmarks/state_sync.py [--megabytes 400] [--repeat 3] [--json] [--profile]`. The holder serves a
store whose newest block has a model of that size; the joiner pulls every part with TLS, checks each chunk
against the header's roots, writes it, syncs it, and makes the state. In the same run the same bytes go over a
raw socket into sha256, on one connection and one thread: on a shared machine the ratio says more than MB/s.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import hashlib
import json
import os
import pstats
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import msgspec
import numpy as np
from support.chain import World

from p2pfed.chain.genesis import dump_genesis, load_genesis
from p2pfed.chain.state import encode_ledger, genesis_state
from p2pfed.net.tcp.transport import TcpTransport
from p2pfed.node.effects import FetchSnapshot
from p2pfed.node.events import Event, SnapshotFetched
from p2pfed.primitives import codec
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.server import Server
from p2pfed.runtime.state_fetch import StateFetch
from p2pfed.storage import retention
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.address import Multiaddr
from p2pfed.types.model import ArraySpec, Manifest, ModelState
from p2pfed.types.params import MIB
from p2pfed.types.snapshot import Snapshot
from p2pfed.types.wire import RESPONSE_BYTES_MAX, GetSnapshot

retention.SNAPSHOT_INTERVAL = 1  # The state after the only block is a snapshot.
HOLDER, JOINER = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)


class Handler:
    """Answers bulk requests by `serve_with`, and nothing without it."""

    serve_with: Callable[[bytes, bytes], Awaitable[bytes]] | None = None

    def connected(self, peer: bytes, address: Multiaddr | None, *, inbound: bool) -> None: ...

    def disconnected(self, peer: bytes, reason: str) -> None: ...

    async def message(self, peer: bytes, data: bytes) -> None: ...

    async def serve(self, peer: bytes, data: bytes) -> bytes:
        assert self.serve_with is not None
        return await self.serve_with(peer, data)


def make_store(home: Home, megabytes: int) -> None:
    """Write a home with one EMPTY block over a model of random weights."""
    size = megabytes * 1_000_000 // 4
    manifest = Manifest((ArraySpec("weight", (size,), "float32", "trained", nonnegative=False),))
    groups = len(manifest.groups)
    weights = np.random.default_rng(1).integers(-(1 << 28), 1 << 28, size, dtype=np.int32)
    model = ModelState(weights, np.full(groups, 14, np.int8), np.full(groups, 20, np.int8))
    world = World([10, 10, 10, 10], transport="tcp")
    world.genesis = msgspec.structs.replace(
        world.genesis,
        manifest=manifest,
        model_root=model.root,
        update_exponents=(14,) * groups,
        model_exponents=(20,) * groups,
    )
    world.state = genesis_state(world.genesis, model)
    block = world.advance(headers=())
    home.create()
    home.genesis.write_text(dump_genesis(world.genesis))
    store = Store(home, world.genesis)
    store.save_genesis(model, None)
    store.save_block(block, encode_ledger(world.state.ledger), world.state.model)
    store.close()


async def hold(home: Home) -> None:
    """Serve a store until stdin ends."""
    genesis = load_genesis(home.genesis.read_bytes())
    store, handler = Store(home, genesis, read_only=True), Handler()
    with ThreadPoolExecutor(1) as thread:
        handler.serve_with = Server(store, thread, lambda _: True)
        transport = TcpTransport(key=HOLDER, chain_id=genesis.chain_id, handler=handler)
        print(await transport.listen("127.0.0.1", 0), flush=True)
        began = process_time()
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps({"holder_cpu_s": round(process_time() - began, 3)}), flush=True)
        await transport.close()
    store.close()


async def join(source: Home, home: Home, port: int) -> dict[str, Any]:
    """Take the state of the holder at `port`; return the figures."""
    genesis = load_genesis(source.genesis.read_bytes())
    home.create()
    store, events = Store(home, genesis), asyncio.Queue[Event]()
    with ThreadPoolExecutor(1) as disk:
        transport = TcpTransport(key=JOINER, chain_id=genesis.chain_id, handler=Handler())
        peer = await transport.dial(Multiaddr("127.0.0.1", port), timeout_ms=10_000)
        answer = await transport.request(peer, codec.encode(GetSnapshot(0)), timeout_ms=60_000)
        snapshot = codec.decode(answer, Snapshot, RESPONSE_BYTES_MAX)
        began, cpu_began, whole_s, whole_cpu_s = perf_counter(), process_time(), 0.0, 0.0

        def tell(_: object) -> None:
            nonlocal whole_s, whole_cpu_s  # The last time: every part is durable.
            whole_s, whole_cpu_s = perf_counter() - began, process_time() - cpu_began

        fetch = StateFetch(store, transport, disk, events.put_nowait, tell)
        await fetch.snapshot(FetchSnapshot(snapshot, (peer,)))
        event = events.get_nowait()
        took_s, cpu_s = perf_counter() - began, process_time() - cpu_began
        assert isinstance(event, SnapshotFetched)
        assert event.state is not None
        await transport.close()
    store.close()
    megabytes = snapshot.size / 1e6
    return {
        "megabytes": round(megabytes, 1),
        "mb_per_s": round(megabytes / took_s, 1),
        "mb_per_s_durable": round(megabytes / whole_s, 1),
        "joiner_cpu_s": round(cpu_s, 3),
        "joiner_cpu_s_durable": round(whole_cpu_s, 3),
    }


def raw(megabytes: int) -> float:
    """Return MB/s of the same bytes over a raw socket from another process into sha256."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [
            sys.executable,
            __file__,
            "--raw-to",
            str(server.getsockname()[1]),
            "--megabytes",
            str(megabytes),
        ]
        with subprocess.Popen(command):
            pipe, _ = server.accept()
            buffer, digest = memoryview(bytearray(MIB)), hashlib.sha256()
            total, began = 0, perf_counter()
            while read := pipe.recv_into(buffer):
                digest.update(buffer[:read])
                total += read
            took_s = perf_counter() - began
            pipe.close()
    return total / 1e6 / took_s


def send_raw(port: int, megabytes: int) -> None:
    chunk = os.urandom(MIB)
    with socket.create_connection(("127.0.0.1", port)) as pipe:
        for _ in range(megabytes * 1_000_000 // MIB):
            pipe.sendall(chunk)


def measure(folder: Path, megabytes: int, repeat: int, profile: bool) -> dict[str, Any]:
    source = Home(folder / "holder")
    make_store(source, megabytes)
    command = [sys.executable, __file__, "--hold", str(source.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        profiler = cProfile.Profile(thread_time) if profile else None
        if profiler is not None:
            profiler.enable()
        runs = []
        for run in range(repeat):
            home = Home(folder / f"joiner{run}")
            runs.append(asyncio.run(join(source, home, port)))
            shutil.rmtree(home.path)  # What it wrote would have the next one wait for memory.
        if profiler is not None:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        figures = sorted(runs, key=lambda run: run["mb_per_s"])[repeat // 2]
        figures["mb_per_s_runs"] = [run["mb_per_s"] for run in runs]
        figures["joiner_cpu_s_least"] = min(run["joiner_cpu_s"] for run in runs)
        holder_cpu_s = json.loads(holder.communicate("\n")[0])["holder_cpu_s"]
        figures["holder_cpu_s"] = round(holder_cpu_s / repeat, 3)
    figures["raw_mb_per_s"] = round(raw(megabytes), 1)
    figures["ratio_to_raw"] = round(figures["mb_per_s"] / figures["raw_mb_per_s"], 3)
    figures["load"] = round(os.getloadavg()[0], 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=3, help="joins from one holder; the median is shown")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true", help="profile the joiner's loop")
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--raw-to", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        asyncio.run(hold(Home(arguments.hold)))
        return
    if arguments.raw_to:
        send_raw(arguments.raw_to, arguments.megabytes)
        return
    folder = Path(tempfile.mkdtemp(prefix="p2pfed-state-"))
    try:
        figures = measure(folder, arguments.megabytes, arguments.repeat, arguments.profile)
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<18} {value}")


if __name__ == "__main__":
    main()
