"""Cut real peers off for a minute, each on its own host: what does it cost, and how soon is all as before?

    python benchmarks/partition.py [--seconds 60] [--json]

Four peers in network namespaces (root and `ip` are needed). First the cable of one is pulled for so long,
then those of two at once, so that the others have no quorum and the network stands. Each row has
`blocks_meanwhile` of those that stay; `slot_ms`, the most that a height takes in which one that is away would
propose, beyond the median of the others, after the first three; and from the return of the cables
`next_block_ms`, `level_ms` (all are at the newest height) and, after an `unjail` of who was jailed for its
absence, `back_ms` (a block has the updates of all).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measuring import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from e2e.support import Peer, p2pfed, wait_until
from hosts.network import NAMES, Network
from support.hosts import Hosts, why_not

PATIENCE_S = 180


def blocks_between(peer: Peer, begin_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Return the blocks that a peer voted on and logged in that time."""
    return [
        event
        for event in peer.events
        if event["event"] == "block.committed"
        and begin_ms <= event["time_ms"] < end_ms
        and not event["caught_up"]
    ]


def slot_of(peer: Peer, blocks: list[dict[str, Any]], away: set[str]) -> int:
    """Return the worst height of those that are away, in ms beyond the median of the others."""
    proposers = {
        event["height"]: event["proposer"]
        for event in peer.events
        if event["event"] == "round.started" and event["round"] == 0
    }
    took: dict[bool, list[int]] = {True: [], False: []}
    for block in blocks[3:]:
        took[proposers.get(block["height"]) in away].append(block["took_ms"])
    return max(took[True]) - round(median(took[False])) if took[True] and took[False] else 0


def cut(net: Network, victims: list[int], seconds: int) -> dict[str, Any]:
    """Pull the cables of `victims`, put them back after so many seconds, and watch the first peer."""
    watched, away = net.peers[0], {net.ids[index] for index in victims}
    begin_ms = time.time_ns() // 1_000_000
    for index in victims:
        net.hosts.set_link(NAMES[index], up=False)
    time.sleep(seconds)  # What is asked for.
    end_ms = time.time_ns() // 1_000_000
    for index in victims:
        net.hosts.set_link(NAMES[index], up=True)

    def first(is_meant: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        return next((block for block in blocks_between(watched, end_ms, 1 << 62) if is_meant(block)), None)

    block = wait_until(lambda: first(lambda _: True), "a block after the cut", PATIENCE_S)
    for index in victims:
        net.peers[index].wait_for_height(watched.height, PATIENCE_S)
    level_ms = time.time_ns() // 1_000_000
    jails = [
        each for each in watched.events if each["event"] == "peer.jailed" and each["time_ms"] >= begin_ms
    ]
    jailed = [index for index in victims if net.ids[index] in {jail["validator"] for jail in jails}]
    for index in jailed:
        done = p2pfed("unjail", "--home", net.peers[index].home.path, host=net.peers[index].host)
        assert done.returncode == 0, done.stderr
    whole = wait_until(
        lambda: first(lambda it: sorted(it["trainers"]) == sorted(net.ids)), "all updates", PATIENCE_S
    )
    net.verify_agreement()
    blocks = blocks_between(watched, begin_ms, end_ms)
    return {
        "schema": "p2pfed.partition/1",
        "away": len(victims),
        "seconds": seconds,
        "jailed": len(jailed),
        "blocks_meanwhile": len(blocks),
        "slot_ms": slot_of(watched, blocks, away),
        "next_block_ms": block["time_ms"] - end_ms,
        "level_ms": level_ms - end_ms,
        "back_ms": whole["time_ms"] - end_ms,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    reason = why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="partition-")) / "net"
    with Hosts(NAMES) as hosts, Network(hosts, folder, 4) as net:
        net.wait_for_updates_of_all(net.peers[0], 0)
        for victims in ([3], [2, 3]):
            row = cut(net, victims, args.seconds)
            print(json.dumps(row | machine()) if args.json else row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
