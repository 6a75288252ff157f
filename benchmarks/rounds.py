"""How long a height takes in a real network of processes on this machine, and what it costs.

    python benchmarks/rounds.py --peers 4 --task small --heights 20 [--transport tcp|libp2p] [--json]

Training, signatures, votes and disk are included. A round is the time from one block to the next at one peer;
the first is left out, since it waits until everybody has started. `mb_sent_per_peer_per_round` counts the
bytes on the loopback, of a network namespace of its own where the system allows it (`is_own_network`). The
same figures of hivemind come from rounds_hivemind.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import PeakMemory, enter_own_network, loopback_bytes, machine

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "mnist5k.npz"
TIMEOUT_S = 600
POLL_S = 0.02


def found(folder: Path, args: argparse.Namespace) -> list[Path]:
    """Make the network; return the homes."""
    times = folder / "times"
    times.mkdir()
    params = [f"times={times}"] + ([f"data={args.data.absolute()}"] if args.task == "small" else [])
    if args.fault:
        params += [f"fault={args.fault}", f"heights={args.heights}", f"driver={os.getpid()}"]
    command = [
        sys.executable, "-m", "p2pfed", "testnet", "create", "-o", str(folder / "net"),
        "--peers", str(args.peers), "--app", f"{HERE / 'rounds_tasks.py'}:{args.task}", "--rules", args.rules,
        "--heights", str(args.heights), "--transport", args.transport, "--linger", "10",
        "--preset", args.preset, "--outer", "off", *args.founding.split(),  # The others average.
    ]  # fmt: skip
    for param in params:
        command += ["--param", param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return sorted((folder / "net").glob("peer*"))


def events_of(home: Path) -> list[dict[str, Any]]:
    path = home / "logs" / "peer.log"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def trainings(folder: Path) -> list[list[tuple[float, float]]]:
    """Return when each training of each peer began and ended, seconds since 1970."""
    return [
        [(float(a), float(b)) for a, b in (line.split() for line in path.read_text().splitlines())]
        for path in sorted((folder / "times").glob("*.txt"))
    ]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one network to its last height; return its figures."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        homes = found(folder, args)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
        sent, started = loopback_bytes(), time.time()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "p2pfed", "run", "--home", str(home), "--no-http"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            for home in homes
        ]
        memory = PeakMemory([process.pid for process in processes])
        memory.start()
        try:
            codes = [process.wait(TIMEOUT_S) for process in processes]
        finally:
            peak_mb = memory.end()
            for process in (*processes, *busy):
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        sent = loopback_bytes() - sent
        logs = [events_of(home) for home in homes]
        return figures(args, started, logs, trainings(folder), codes) | {
            "mb_sent_per_peer_per_round": round(sent / 1e6 / args.peers / args.heights, 3),
            "cpu_s_per_peer": round(
                (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) / args.peers, 3
            )
            if not args.busy
            else None,
            "peak_pss_mb_per_peer": round(peak_mb, 1),
        }


def figures(
    args: argparse.Namespace,
    started: float,
    logs: list[list[dict[str, Any]]],
    trained: list[list[tuple[float, float]]],
    codes: list[int],
) -> dict[str, Any]:
    """Return what the peers' own logs say."""
    blocks = [[event for event in log if event["event"] == "block.committed"] for log in logs]
    times = [[event["time_ms"] / 1000 for event in own] for own in blocks]
    rounds = [later - earlier for own in times for earlier, later in pairwise(own)]
    train = [end - begin for own in trained for begin, end in own]
    accuracies = [
        event["acc(public)"] for log in logs for event in log
        if event["event"] == "block.evaluated" and event["height"] == args.heights and "acc(public)" in event
    ]  # fmt: skip
    last = [own[-1] for own in blocks if own and own[-1]["height"] == args.heights]
    updates = [event["updates"] for own in blocks for event in own[1:]]  # As of the rounds: not the first.
    median = statistics.median(rounds) if rounds else None
    trained_s = statistics.median(train) if train else None
    return {
        "round_median_s": _rounded(median),
        "round_max_s": _rounded(max(rounds, default=None)),
        "train_median_s": _rounded(trained_s),
        "overhead_median_s": _rounded(median - trained_s if median and trained_s else None),
        "first_training_s": _rounded(max((own[0][0] - started for own in trained if own), default=None)),
        "finished": sum(code == 0 for code in codes),
        "distinct_model_digests": len({event["model_root"] for event in last}),
        "updates_median": statistics.median(updates) if updates else None,
        "accuracy": _rounded(statistics.median(accuracies) if accuracies else None),
        "accuracy_min": _rounded(min(accuracies, default=None)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--task", choices=("small", "big"), default="small")
    parser.add_argument("--heights", type=int, default=20)
    parser.add_argument("--transport", choices=("tcp", "libp2p"), default="tcp")
    parser.add_argument("--rules", default="mean", help="as `testnet create --rules`; the others average")
    parser.add_argument("--preset", default="local")
    parser.add_argument("--founding", default="", help="further options of `testnet create`")
    parser.add_argument("--data", type=Path, default=DATA, help="mnist5k.npz, for the task small")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--busy", type=int, default=0, help="processes that keep a core busy meanwhile")
    parser.add_argument("--fault", choices=("nan", "kill"), help="what the last peer does from half-time on")
    parser.add_argument("--folder", type=Path, help="where the homes are made and thrown away")
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    args = parser.parse_args()
    is_own_network = enter_own_network()
    for _ in range(args.runs):
        row = {"system": "p2pfed", "peers": args.peers, "task": args.task, "heights": args.heights}
        row |= {"fault": args.fault} | measure(args) | {"is_own_network": is_own_network} | machine()
        print(
            json.dumps(row) if args.json else "\n".join(f"{key:28} {value}" for key, value in row.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
