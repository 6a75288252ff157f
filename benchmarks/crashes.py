"""Kill real peers at every durable write and at seeded moments, and measure how the network takes it.

`python benchmarks/crashes.py [--json] [--transport tcp|libp2p] [--moments 20] [--seed 0] [--only TEXT]`
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from e2e.judge import BACK_MS_MAX, GAP_MS_MAX, Signatures, verdict, wait_for_precommit, worst_gap_ms
from e2e.support import PATIENCE_S, Network, Peer, create

from p2pfed.storage.crash_points import NAMES

PEERS = 4
FOUNDING = ("key", "genesis", "meta", "held")  # Passed while a home is made, not by a peer at work.
PASSINGS_MAX = 12  # The crash comes at one of so many passings, drawn from the seed.
RARE = ("file", "peers", "log.rotate", "log.cut")  # Passed once or twice a start.
# A log of 10 MB takes hours here; tests/unit/storage kills there with small files. Polkas are kept with their
# block, and alone only by a peer that blocks take out of a round: `crash_points.py` kills there.
UNREACHED = ("log.dropped", "polka.begin", "polka.rows", "polka.committed")
MOMENT_S_MAX = 1.5  # About four heights.


@dataclass(frozen=True)
class Case:
    """One kill. Times in ms: the worst gap of the others; from the start of the process until it runs (up)
    and until its precommit is in a certificate at another peer (back)."""

    name: str
    victim: str
    gap_ms: int
    up_ms: int
    back_ms: int
    is_ok: bool
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))  # Processes that want a core.


def at_points(net: Network, dice: random.Random) -> Iterator[tuple[str, Peer, Callable[[Peer], int]]]:
    """Yield name, victim and how to kill it, for each crash point that a peer at work passes."""
    names = [name for name in NAMES if not name.startswith(FOUNDING) and name not in UNREACHED]
    for number, name in enumerate(names):
        passing = 1 if name.startswith(RARE) else dice.randint(1, PASSINGS_MAX)
        victim = net.peers[number % PEERS]
        if name.startswith("peers.") and victim is net.peers[0]:
            victim = net.peers[1]  # The first peer knows no contact: without peers.json others must find it.
        yield f"{name}:{passing}", victim, lambda peer, at=f"{name}:{passing}": crash_at(peer, at)


def at_moments(
    net: Network, dice: random.Random, count: int
) -> Iterator[tuple[str, Peer, Callable[[Peer], int]]]:
    """Yield kills at moments drawn from the seed, and one of each peer as it begins to propose."""
    for number in range(count):
        delay_s = dice.uniform(0, MOMENT_S_MAX)
        victim = net.peers[number % PEERS]
        yield f"moment {number} +{delay_s:.3f}s", victim, lambda peer, s=delay_s: kill_after(peer, s)
    for victim in net.peers:
        own = victim.wait("peer.started")["id"]
        yield "proposer", victim, lambda peer, key=own: kill_as_proposer(peer, key)


def crash_at(peer: Peer, at: str) -> int:
    """Start the peer anew so that it kills itself at a crash point; return when it did, ms since 1970."""
    if peer.is_running:
        peer.stop()
    if at.startswith("peers."):
        peer.home.peers.unlink()  # It is written when there is news: all addresses are, then.
    if at.startswith("log.rotate"):
        shutil.rmtree(peer.home.wal)  # The first file of a log is made where there is none.
    if at.startswith("log.cut"):
        newest = sorted(peer.home.wal.iterdir())[-1]
        newest.write_bytes(newest.read_bytes() + b"torn")
    peer.start(P2PFED_CRASH_AT=at)
    code = peer.wait_for_end()
    assert code == -signal.SIGKILL, f"{peer.name} ended with {code} and not at {at}:\n{peer.output[-2000:]}"
    return time.time_ns() // 1_000_000


def kill_after(peer: Peer, delay_s: float) -> int:
    time.sleep(delay_s)
    return peer.kill()


def kill_as_proposer(peer: Peer, own: str) -> int:
    peer.wait("round.started", after=peer.mark(), round=0, proposer=own)
    return peer.kill()


def run_case(
    net: Network, name: str, victim: Peer, strike: Callable[[Peer], int], transport: str, said: Signatures
) -> Case:
    """Kill, watch the others, restart, and wait until the victim's precommit counts again."""
    killed_ms = strike(victim)
    said.add_record(victim.home)
    gap_ms = worst_gap_ms(net.others(victim), killed_ms)
    height, mark = max(peer.height for peer in net.others(victim)), victim.mark()
    started_ms = time.time_ns() // 1_000_000
    victim.start()
    up_ms = victim.wait("peer.started", after=mark)["time_ms"] - started_ms
    back_ms = wait_for_precommit(net, victim, height, PATIENCE_S) - started_ms
    is_ok = gap_ms <= GAP_MS_MAX and back_ms <= BACK_MS_MAX[transport]
    return Case(name, victim.name, gap_ms, up_ms, back_ms, is_ok)


def join_cases(net: Network, folder: Path, transport: str) -> Iterator[Case]:
    """Kill an observer at each write of its founding; the same line must then join all the same."""
    contact = net.peers[0].wait("peer.started")["p2p"][0]
    line = ("--join", contact, "--chain", net.chain, "--transport", transport, "--port", "0", "--no-http",
            "--sync", "blocks")  # fmt: skip
    for name in (name for name in NAMES if name.startswith(FOUNDING)):
        peer = Peer(folder / f"joiner-{name}")
        try:
            peer.start(*line, P2PFED_CRASH_AT=name)
            code = peer.wait_for_end()
            started_ms = time.time_ns() // 1_000_000
            peer.start(*line)
            target = max(other.height for other in net.peers)
            back_ms = peer.wait_for_height(target)["time_ms"] - started_ms
            peer.stop()
        finally:
            peer.end()
        is_ok = code == -signal.SIGKILL  # How long it takes to join depends on the length of the chain.
        yield Case(
            name if code == -signal.SIGKILL else f"{name} (not passed)", "a joiner", 0, 0, back_ms, is_ok
        )
        peer.stop()
        shutil.rmtree(peer.home.path)


def power_cut(net: Network, transport: str) -> Case:
    """Kill all peers at once, start them, and wait for a block that is new."""
    height = max(peer.height for peer in net.peers)
    for peer in net.peers:
        peer.send(signal.SIGKILL)
    for peer in net.peers:
        peer.wait_for_end()
    started_ms = time.time_ns() // 1_000_000
    net.start()
    moments = [peer.wait_for_height(height + 2)["time_ms"] for peer in net.peers]
    back_ms = max(moments) - started_ms
    return Case("power cut", "all", 0, 0, back_ms, back_ms <= GAP_MS_MAX + BACK_MS_MAX[transport])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--transport", default="tcp", choices=("tcp", "libp2p"))
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="Only cases whose name contains this text.")
    chosen = parser.parse_args()
    dice = random.Random(chosen.seed)
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    net = create(folder / "net", PEERS, chosen.transport)
    said, cases = Signatures(), []

    def show(case: Case) -> None:
        cases.append(case)
        line = (
            json.dumps({"schema": "p2pfed.crash/1", **asdict(case)})
            if chosen.json
            else (
                f"{'ok' if case.is_ok else 'BAD':<4}{case.name:<24}{case.victim:<10}"
                f"gap {case.gap_ms:>5} ms  up {case.up_ms:>5} ms  "
                f"back {case.back_ms:>5} ms  load {case.load}"
            )
        )
        print(line, flush=True)

    try:
        net.start()
        net.wait_for_height(3, 60)
        if chosen.only in "joining":
            for case in join_cases(net, folder, chosen.transport):
                show(case)
        plans = [*at_points(net, dice), *at_moments(net, dice, chosen.moments)]
        for name, victim, strike in plans:
            if chosen.only in name:
                show(run_case(net, name, victim, strike, chosen.transport, said))
        for _ in range(3):
            if chosen.only in "power cut":
                show(power_cut(net, chosen.transport))
        codes = [peer.stop() for peer in net.peers]
        wrong = verdict(net, said) + [f"exit code {code}" for code in codes if code != 143]
    finally:
        net.end()
    kills = [case for case in cases if case.gap_ms]
    summary = {
        "schema": "p2pfed.crashes/1",
        "transport": chosen.transport,
        "seed": chosen.seed,
        "cases": len(cases),
        "missed": [case.name for case in cases if not case.is_ok],
        "gap_ms_median": median(case.gap_ms for case in kills) if kills else 0,
        "gap_ms_worst": max((case.gap_ms for case in kills), default=0),
        "up_ms_median": median(case.up_ms for case in kills) if kills else 0,
        "back_ms_median": median(case.back_ms for case in kills) if kills else 0,
        "back_ms_worst": max((case.back_ms for case in kills), default=0),
        "after_up_ms_worst": max((case.back_ms - case.up_ms for case in kills), default=0),
        "load_median": median(case.load for case in cases) if cases else 0,
        "signatures": len(said.said),
        "heights": max(peer.height for peer in net.peers),
        "wrong": wrong,
    }
    print(json.dumps(summary) if chosen.json else json.dumps(summary, indent=2))
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong or summary["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
