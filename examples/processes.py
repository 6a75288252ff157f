"""For a first real network: four houses as four processes of this machine, over TCP, and one of them lies.

The houses of smart_home.py. This process is the first and starts the others from this file. What the last
sends is garbage: it is in no block, its sender loses stake, and the rest go on. Expect an error below 0.30
degrees after a few heights, and one model on all honest disks. Writes processes.svg, and leaves the folder of
the network for replay.py.

python examples/processes.py [FOLDER]
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from smart_home import learner

import p2pfed

HOUSES = Path(__file__).with_name("smart_home.py")
SETTINGS = {"network.port": 0, "http.enabled": False, "run.linger_s": 0}  # Any port that is free.


def create(net: Path) -> None:
    """Found a network: four homes with keys, genesis and settings; those of the last make it a liar."""
    command = [sys.executable, "-m", "p2pfed", "testnet", "create", "--peers", "4", "--output", str(net)]
    subprocess.run([*command, "--byzantine", "1:garbage_payload", "--app", f"{HOUSES}:learner"], check=True)


def start(home: Path, address: str) -> subprocess.Popen[bytes]:
    """Start the peer of a home as a process of its own, which runs `follow`."""
    return subprocess.Popen([sys.executable, __file__, str(home), address])


async def follow(home: str, address: str) -> None:
    """Be a peer that knows one other, until it is ended."""
    async with p2pfed.Peer(home, learner, settings=SETTINGS | {"network.join": (address,)}) as peer:
        async for _ in peer.blocks():
            pass


async def lead(net: Path) -> list[p2pfed.Block]:
    """Be the first peer and start the others; return its blocks until all is well and the liar out."""
    blocks: list[p2pfed.Block] = []
    others: list[subprocess.Popen[bytes]] = []
    settings = SETTINGS | {"network.join": ()}
    async with p2pfed.Peer(net / "peer0", learner, heights=100, settings=settings) as peer:
        try:
            others += [start(net / f"peer{number}", peer.addresses[0]) for number in (1, 2, 3)]
            async for block in peer.blocks():
                blocks.append(block)
                print(block.height, f"{block.updates} of {block.expected} updates", block.figures)
                if block.figures.get("error", 9) < 0.3 and block.expected == 3:
                    break
        finally:
            for process in others:
                process.terminate()
            for process in others:
                process.wait()
    return blocks


def main(net: Path) -> None:
    """Run the network and draw what the first peer saw."""
    create(net)
    blocks = asyncio.run(lead(net))
    curves = {
        "error of the agreed model": [block.figures.get("error", float("nan")) for block in blocks],
        "updates in the block, of those expected": [block.updates / block.expected for block in blocks],
    }
    picture = p2pfed.chart(curves, "Four processes, of which the last lies", axis="error in degrees; share")
    Path("processes.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(follow(*sys.argv[1:]))
    else:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "processes-net"))
