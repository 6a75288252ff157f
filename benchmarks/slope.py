"""Whether a peer's memory grows with the height: `python benchmarks/slope.py --json`.

Four peers as processes with a small learner. The memory that is a peer's alone and its file descriptors are
read at each height from /proc. The slope is by least squares over the heights from `--after` on: by then the
histories of 1,024 heights, the ids seen lately and SQLite's cache of 4 MB are full.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import httpx
import numpy as np

POLL_S = 0.2


def p2pfed(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "p2pfed", *map(str, arguments)], check=True, capture_output=True)


def processes(net: Path) -> dict[str, int]:
    """Return the process id of each peer of a testnet."""
    found = {}
    for home in sorted(net.glob("peer*")):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"run" in words and str(home).encode() in words:
                found[home.name] = int(folder.name)
    return found


def memory_kb(process: int) -> int:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1])
        for line in text.splitlines()
        if line.startswith(("Private_Dirty", "Private_Clean"))
    )


def measure(heights: int, after: int, learner: list[str]) -> dict[str, object]:
    folder = Path(tempfile.mkdtemp(prefix="p2pfed-slope-"))
    net = folder / "net"
    try:
        p2pfed("testnet", "create", "--peers", 4, "--output", net, *learner)
        p2pfed("testnet", "start", net)
        port = tomllib.loads((net / "peer0" / "config.toml").read_text())["http"]["port"]
        peers = processes(net)
        samples: list[tuple[int, list[int], list[int]]] = []
        started = time.monotonic()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            height = 0
            while height < heights:
                time.sleep(POLL_S)
                now: int = client.get("/v1/status").json()["height"]
                if now != height:
                    height = now
                    memory = [memory_kb(process) for process in peers.values()]
                    files = [len(os.listdir(f"/proc/{process}/fd")) for process in peers.values()]
                    samples.append((height, memory, files))
        rows = [row for row in samples if row[0] >= after]
        x = np.array([row[0] for row in rows], float)
        slopes = [
            float(np.polyfit(x, np.array([row[1][k] for row in rows], float), 1)[0])
            for k in range(len(peers))
        ]
        return {
            "heights": [rows[0][0], height],
            "samples": len(rows),
            "kb_per_height": [round(slope, 3) for slope in slopes],
            "mb_before": [round(kb / 1024, 1) for kb in rows[0][1]],
            "mb_at_end": [round(kb / 1024, 1) for kb in rows[-1][1]],
            "files_before": rows[0][2],
            "files_at_end": rows[-1][2],
            "seconds": round(time.monotonic() - started, 1),
            "load": os.getloadavg()[0],
        }
    finally:
        subprocess.run(
            [sys.executable, "-m", "p2pfed", "testnet", "stop", str(net)], check=False, capture_output=True
        )
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heights", type=int, default=3_500)
    parser.add_argument("--after", type=int, default=1_500, help="the height from which the slope is taken")
    parser.add_argument("--app", default="digits:softmax")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    row = measure(
        given.heights, given.after, ["--app", given.app, "--param", "epochs=1", "--param", "holdout=0"]
    )
    print(json.dumps(row) if given.json else "\n".join(f"{key:<18} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
