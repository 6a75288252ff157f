"""How late a peer's event loop is while its learner keeps every core busy.

python benchmarks/loop_lag.py [--heights 10] [--seconds 2] [--size 1000000]

A network of one member runs in this program's loop; a timer of 10 ms in the same loop is asked how late it
fires. The learner, in its worker, starts one busy process a core for each training.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import p2pfed
from p2pfed.runtime import testnet
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Params

TICK_S = 0.01
MARK_MS = 100
BUSY = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


class Busy:
    """A model of `size` numbers that moves a little, with every core at work meanwhile."""

    def __init__(self, context: p2pfed.AppContext) -> None:
        self.size, self.seconds = int(context.params["size"]), float(context.params["seconds"])

    def weights(self) -> list[Any]:
        return [np.zeros(self.size, np.float32)]

    def train(self, weights: list[Any], context: p2pfed.TrainContext) -> p2pfed.TrainResult:
        command = [sys.executable, "-c", BUSY.format(seconds=self.seconds)]
        for process in [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]:
            process.wait()
        moved = weights[0] + np.random.default_rng(context.seed).normal(0, 0.01, self.size).astype(np.float32)
        return p2pfed.TrainResult([moved], examples=10)

    def evaluate(self, weights: list[Any], context: p2pfed.TrainContext) -> p2pfed.Metrics:
        return {}


async def lags_of(home: Path, heights: int) -> list[float]:
    """Return how late each tick was, in ms, from the first block to the last."""
    lags: list[float] = []
    loop = asyncio.get_running_loop()

    async def watch() -> None:
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            lags.append((loop.time() - due) * 1000)

    watching: asyncio.Task[None] | None = None
    async with p2pfed.Peer(home, heights=heights, settings={"run.linger_s": 0}) as peer:
        async for block in peer.blocks():
            watching = watching or asyncio.create_task(watch())
            print(f"block {block.height} after {block.took_ms} ms", file=sys.stderr)
    if watching is not None:
        watching.cancel()
    return lags


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--heights", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=1_000_000)
    given = parser.parse_args()
    settings = {"size": str(given.size), "seconds": str(given.seconds)}
    learner = LearnerConfig(app=f"{Path(__file__).resolve()}:Busy", params=settings)
    with tempfile.TemporaryDirectory() as folder:
        params = Params("local", ("mean",), 1, 12, 4, 0)
        plan = testnet.TestnetPlan(1, (10,), (), learner, params, "tcp", port=0, http_port=0)
        testnet.create_testnet(Path(folder) / "net", plan)
        lags = asyncio.run(lags_of(Path(folder) / "net" / "peer0", given.heights))
    p50, p99, worst = np.percentile(lags, [50, 99, 100])
    print(
        f"{os.cpu_count()} cores, {given.size} numbers, {given.heights} heights, {len(lags)} ticks of 10 ms: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms"
    )
    return 0 if p99 < MARK_MS else 1


if __name__ == "__main__":
    sys.exit(main())
