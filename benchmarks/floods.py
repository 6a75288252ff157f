"""One peer floods four real ones as fast as it can: what do their heights and memory say, and when is it cut?

    python benchmarks/floods.py [--seconds 15] [--pairs 1] [--kinds duplicates,valid,…] [--data FILE] [--json]

Five members are founded and four are started; the flooder has the key of the fifth (`flooder.py`). Beside
each flood stands the same network, founded anew, with a loop that does nothing in the flooder's place. The
kinds: `duplicates` (its own valid vote again and again), `valid` (votes and records that it signed, each
another), `certificates` (of 400 signatures, none valid), `garbage` (no messages), `dials` (a handshake after
the other).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from flooder import KINDS
from measuring import PeakMemory, children_of, machine, pss_mb
from rounds import DATA

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from e2e.support import Network, create, tracebacks, wait_until  # noqa: E402

WARM_HEIGHT = 4
BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"
RATIO_MAX, CUT_MS_MAX = 1.5, 2_000


def found(folder: Path, data: Path) -> Network:
    app = f"{HERE / 'rounds_tasks.py'}:small"
    times = folder / "times"
    times.mkdir(parents=True)
    settings = ("--app", app, "--param", f"data={data.absolute()}", "--param", f"times={times}")
    return create(folder / "net", 5, "tcp", *settings, "--outer", "off", "--rules", "mean")


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and its children that live."""
    ticks = 0
    for one in children_of([pid]):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def run(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one network against one flood, `busy` for the loop; return its figures."""
    with tempfile.TemporaryDirectory(prefix="floods-", ignore_cleanup_errors=True) as name:
        net = found(Path(name), args.data)
        members, fifth = net.peers[:4], net.peers[4]
        attacker = None
        try:
            for peer in members:
                peer.start()
            for peer in members:
                peer.wait_for_height(WARM_HEIGHT)
            names = [peer.wait("peer.started")["p2p"][0].split("/") for peer in members]
            places = [f"{parts[2]}:{parts[4]}" for parts in names]
            pids = [peer.process.pid for peer in members if peer.process is not None]
            before = [pss_mb(children_of([pid])) for pid in pids]
            used = sum(map(cpu_s, pids))
            seconds = str(args.seconds)
            flood = [
                str(HERE / "flooder.py"),
                kind,
                str(fifth.home.path),
                str(members[0].height + 1),
                seconds,
            ]
            command = ["-c", BUSY, seconds] if kind == "busy" else [*flood, *places]
            attacker = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
            memory = PeakMemory(pids)
            memory.start()
            began_ms = time.time_ns() // 1_000_000
            said, _ = attacker.communicate(timeout=args.seconds + 60)
            ended_ms = time.time_ns() // 1_000_000
            memory.end()
            used = sum(map(cpu_s, pids)) - used
            after = [pss_mb(children_of([pid])) for pid in pids]
            heights = [peer.height for peer in members]
            wait_until(lambda: all(p.height > h for p, h in zip(members, heights, strict=True)), "a block")
            rounds: list[int] = []
            for peer in members:
                times = [e["time_ms"] for e in peer.events if e["event"] == "block.committed"]
                inside = [at for at in times if began_ms <= at <= ended_ms]
                rounds += [later - earlier for earlier, later in pairwise(inside)]
            wrong = tracebacks(members)
            faults = sum(len([e for e in peer.events if e["event"] == "peer.blamed"]) for peer in members)
        finally:
            if attacker is not None and attacker.poll() is None:
                attacker.kill()
            net.end()
    floods = [json.loads(line) for line in said.splitlines()]
    cuts = [row["cut_ms"] for row in floods if row["cut_ms"] is not None]
    took = (ended_ms - began_ms) * len(pids)
    return {
        "kind": kind,
        "height_median_ms": round(statistics.median(rounds)),
        "height_mean_ms": round(statistics.mean(rounds)),
        "height_max_ms": max(rounds),
        "heights": len(rounds) // len(pids),
        "floods": len(floods),
        "uncut": len(floods) - len(cuts),
        "cut_median_ms": round(statistics.median(cuts)) if cuts else None,
        "cut_max_ms": max(cuts, default=None),
        "messages_max": max((row["messages"] for row in floods), default=0),
        "mb_written": round(sum(row["bytes"] for row in floods) / 1e6, 1),
        "bans": faults,
        "pss_before_mb": round(max(before), 1),
        "pss_peak_grown_mb": round(max(memory.peaks[p] - b for p, b in zip(pids, before, strict=True)), 1),
        "pss_after_grown_mb": round(max(a - b for a, b in zip(after, before, strict=True)), 1),
        "peer_cores": round(used * 1000 / took, 3),
        "tracebacks": len(wrong),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--data", type=Path, default=DATA, help="mnist5k.npz")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    is_kept = True
    for _ in range(args.pairs):
        for kind in args.kinds.split(","):
            busy, flood = run("busy", args), run(kind, args)
            for name in ("median", "mean"):
                key = f"height_{name}_ms"
                flood[f"ratio_{name}"] = round(flood[key] / busy[key], 2)
            cut = flood["cut_max_ms"]
            flood["is_kept"] = flood["ratio_mean"] <= RATIO_MAX and (cut is None or cut <= CUT_MS_MAX)
            is_kept &= flood["is_kept"]
            for row in (busy, flood):
                print(json.dumps({"schema": "p2pfed.flood/1", **row, **machine()}) if args.json else row)
                sys.stdout.flush()
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
