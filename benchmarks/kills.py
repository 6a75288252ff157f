"""Take one of four real peers away at seeded moments, by SIGKILL or SIGSTOP: what does it cost the others?

    python benchmarks/kills.py [--kills 100] [--stops 0] [--seed 0] [--transport tcp|libp2p] [--json]

The peer stays away for `AWAY_BLOCKS` blocks, so that it would have proposed in some of them. Each case has
three figures, of the worst survivor: from the moment to the next block (`death_ms`); the most that one
of the later heights in which it would have proposed takes more than the median of the others (`slot_ms`);
from its return until a block holds its precommit (`back_ms`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from measuring import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from e2e.judge import BACK_MS_MAX, GAP_MS_MAX, LOCAL, Signatures, verdict, wait_for_precommit
from e2e.support import PATIENCE_S, Network, Peer, create, wait_until

PEERS = 4
AWAY_BLOCKS = 9  # Two turns of all proposers after the height that it was taken from.
MOMENT_S_MAX = 1.5
SLOT_MS_MAX = LOCAL.propose_ms(0) // 4 + LOCAL.vote_ms(0) + 1_000


@dataclass(frozen=True)
class Case:
    """What it cost, in ms; `slots` is how many later heights the peer would have proposed in."""

    kind: str
    victim: str
    delay_s: float
    death_ms: int
    slot_ms: int
    slots: int
    back_ms: int
    is_ok: bool
    load: float


def blocks_after(peer: Peer, moment_ms: int, count: int) -> list[dict[str, Any]]:
    """Return the first `count` blocks of a peer from a moment on, once they are there."""

    def look() -> list[dict[str, Any]] | None:
        found = [e for e in peer.events if e["event"] == "block.committed" and e["time_ms"] >= moment_ms]
        return found[:count] if len(found) >= count else None

    found: list[dict[str, Any]] = wait_until(look, f"{count} blocks of {peer.name}", PATIENCE_S)
    return found


def cost_at(peer: Peer, victim_id: str, moment_ms: int) -> tuple[int, int, int]:
    """Return what one survivor saw: `death_ms`, `slot_ms` and how many slots there were."""
    blocks = blocks_after(peer, moment_ms, AWAY_BLOCKS)
    took = {later["height"]: later["time_ms"] - earlier["time_ms"] for earlier, later in pairwise(blocks)}
    slots = {
        event["height"]
        for event in peer.events
        if event["event"] == "round.started" and event["round"] == 0 and event["proposer"] == victim_id
    }
    own = [took[height] for height in took if height in slots]
    others = [took[height] for height in took if height not in slots]
    slot_ms = max(own, default=0) - round(median(others)) if own and others else 0
    return blocks[0]["time_ms"] - moment_ms, slot_ms, len(own)


def run_case(net: Network, victim: Peer, kind: str, delay_s: float, transport: str, said: Signatures) -> Case:
    """Take `victim` away after `delay_s`, watch the others, bring it back, and wait until it votes."""
    victim_id = victim.wait("peer.started")["id"]
    time.sleep(delay_s)  # The moment is what is drawn.
    if kind == "kill":
        moment_ms = victim.kill()
        said.add_record(victim.home)
    else:
        moment_ms = time.time_ns() // 1_000_000
        victim.send(signal.SIGSTOP)
    seen = [cost_at(peer, victim_id, moment_ms) for peer in net.others(victim)]
    height, returned_ms = max(peer.height for peer in net.others(victim)), time.time_ns() // 1_000_000
    if kind == "kill":
        victim.start()
    else:
        victim.send(signal.SIGCONT)
    back_ms = wait_for_precommit(net, victim, height, PATIENCE_S) - returned_ms
    death_ms, slot_ms, slots = (max(column) for column in zip(*seen, strict=True))
    is_ok = death_ms <= GAP_MS_MAX and slot_ms <= SLOT_MS_MAX and back_ms <= BACK_MS_MAX[transport]
    load = round(os.getloadavg()[0], 1)
    return Case(kind, victim.name, round(delay_s, 3), death_ms, slot_ms, slots, back_ms, is_ok, load)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transport", default="tcp", choices=("tcp", "libp2p"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    dice = random.Random(args.seed)
    net = create(Path(tempfile.mkdtemp(prefix="kills-")) / "net", PEERS, args.transport)
    said, cases = Signatures(), []
    try:
        net.start()
        net.wait_for_height(3, 60)
        for number, kind in enumerate(["kill"] * args.kills + ["stop"] * args.stops):
            delay_s = dice.uniform(0, MOMENT_S_MAX)
            case = run_case(net, net.peers[number % PEERS], kind, delay_s, args.transport, said)
            cases.append(case)
            print(json.dumps({"schema": "p2pfed.kill/1", **asdict(case)}) if args.json else case, flush=True)
        codes = [peer.stop() for peer in net.peers]
        wrong = verdict(net, said) + [f"exit code {code}" for code in codes if code != 143]
    finally:
        net.end()
    for kind in dict.fromkeys(case.kind for case in cases):
        own = [case for case in cases if case.kind == kind]
        figures = {
            name: [round(median(values)), max(values)]
            for name in ("death_ms", "slot_ms", "back_ms")
            if (values := [getattr(case, name) for case in own])
        }
        held = sum(case.is_ok for case in own)
        row = {"kind": kind, "cases": len(own), "held": held, "slots": sum(c.slots for c in own), **figures}
        print(json.dumps({"schema": "p2pfed.kills/1", **row, "wrong": wrong, **machine()}))
    return 1 if wrong or not all(case.is_ok for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
