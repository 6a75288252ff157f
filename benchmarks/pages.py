"""How fast and how heavy the pages are, in front of a real peer: `python benchmarks/pages.py --json`.

Four peers as processes; peer 0 is measured. The first page is everything that a browser fetches before it can
draw: files, status, history and the first line of the events. Memory is the peer's resident set before the
first page and after `--loads` of them with eight readers of events.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

STEPS = (
    ("/",),
    ("/style.css", "/app.js", "/dom.js", "/charts.js", "/views.js", "/icon.svg"),
    ("/v1/status", "/v1/history"),
)


def p2pfed(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "p2pfed", *map(str, arguments)], check=True, capture_output=True)


def resident_mb(port: int) -> float:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"run" in words and any(word.endswith(b"peer0") for word in words):
                status = (folder / "status").read_text()
                return int(status.split("VmRSS:")[1].split()[0]) / 1024
        except OSError:
            continue
    raise SystemExit(f"no process serves port {port}")


def reader(base: str) -> httpx.Client:
    """Return a client without connections. Certificates take 50 ms that no page waits for."""
    return httpx.Client(base_url=base, verify=False, timeout=30, limits=httpx.Limits(max_connections=9))


def first_page_ms(base: str) -> float:
    with reader(base) as client, ThreadPoolExecutor(6) as side_by_side:
        started = time.perf_counter()
        for step in STEPS:  # What is of one step a browser asks for at once.
            for answer in side_by_side.map(client.get, step):
                answer.raise_for_status()
        with client.stream("GET", "/v1/events") as stream:
            next(line for line in stream.iter_lines() if line.startswith("data: "))
            return 1000 * (time.perf_counter() - started)


def measure(heights: int, loads: int) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="p2pfed-pages-"))
    try:
        net = folder / "net"
        p2pfed("testnet", "create", "--peers", 4, "--output", net, "--param", "epochs=1")
        p2pfed("testnet", "start", net)
        port = tomllib.loads((net / "peer0" / "config.toml").read_text())["http"]["port"]
        base = f"http://127.0.0.1:{port}"

        def height() -> int:
            try:
                with reader(base) as client:
                    found: int = client.get("/v1/status").json()["height"]
            except httpx.HTTPError:
                return 0
            return found

        while height() < heights:
            time.sleep(0.5)  # Asking without a pause would take the time that is measured.
        before_mb = resident_mb(port)
        cold_ms = first_page_ms(base)
        warm = [first_page_ms(base) for _ in range(loads)]
        with reader(base) as client:
            streams = [client.stream("GET", "/v1/events") for _ in range(8)]
            for stream in streams:
                next(line for line in stream.__enter__().iter_lines() if line.startswith("data: "))
            client.get("/v1/updates").raise_for_status()
            history = client.get("/v1/history").content
            after_mb = resident_mb(port)
            for stream in streams:
                stream.__exit__(None, None, None)
        return {
            "first_page_ms": round(cold_ms),
            "later_pages_median_ms": round(statistics.median(warm)),
            "later_pages_max_ms": round(max(warm)),
            "readers": len(streams),
            "blocks": height(),
            "history_kb": round(len(history) / 1000, 1),
            "rss_before_mb": round(before_mb, 1),
            "rss_after_mb": round(after_mb, 1),
            "load": os.getloadavg()[0],
        }
    finally:
        subprocess.run(
            [sys.executable, "-m", "p2pfed", "testnet", "stop", str(folder / "net")],
            check=False, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heights", type=int, default=20, help="blocks before the first page")
    parser.add_argument("--loads", type=int, default=20, help="pages after the first")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    row = measure(given.heights, given.loads)
    print(json.dumps(row) if given.json else "\n".join(f"{key:<24} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
