"""What the sides of the other systems share: options, processes, and the figures that `rounds.py` gives too.

A peer is a process that prints a line of JSON when it is done; when its trainings began is in a file
(`rounds_tasks.py`). A round is the time from one training to the next, the first left out. A system that
hangs is stopped after `--patience` and its figures are those of what it did until then.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import PeakMemory, children_of, enter_own_network, loopback_bytes, machine
from rounds_tasks import build

from p2pfed.learning.learner import Array, Learner, TrainContext

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "mnist5k.npz"
Start = Callable[[argparse.Namespace, Path], list["subprocess.Popen[str]"]]


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that all sides have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--task", choices=("small", "big"), default="small")
    parser.add_argument("--heights", type=int, default=20)
    parser.add_argument("--data", type=Path, default=DATA, help="mnist5k.npz, for the task small")
    parser.add_argument("--fault", choices=("nan", "kill"), help="what the last peer does from half-time on")
    parser.add_argument("--patience", type=float, default=300, help="seconds for all rounds of a run")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--join", default="", help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    return parser


def settings(args: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Return what `rounds_tasks.build` reads."""
    given = {"data": str(args.data.absolute()), "times": str(folder), "heights": str(args.heights)}
    return given | {"fault": args.fault or "", "driver": str(os.getpid())}


def learner_of(args: argparse.Namespace) -> Learner:
    """Return the learner of the peer that this process is."""
    return build(args.task, args.peer, args.peers, json.loads(args.settings))


def spawn(args: argparse.Namespace, folder: Path, index: int, join: str = "") -> subprocess.Popen[str]:
    """Start this program again as one peer."""
    given = ["--peer", str(index), "--settings", json.dumps(settings(args, folder))]
    return subprocess.Popen(
        [sys.executable, *sys.argv, *given, *(["--join", join] if join else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def context(args: argparse.Namespace, height: int) -> TrainContext:
    return TrainContext(height, height - 1, height * 1000 + args.peer)


def done(args: argparse.Namespace, learner: Learner, weights: list[Array]) -> None:
    """Say that this peer is done and what it has; return when it may go."""
    scores = learner.evaluate(weights, context(args, args.heights))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    print(json.dumps({"digest": digest, "accuracy": scores.get("acc(public)")}), flush=True)
    sys.stdin.read()  # The others may still need this one.


def rows_of(processes: list[subprocess.Popen[str]], seconds: float) -> list[dict[str, Any]]:
    """Return what those print who are done within so many seconds."""
    rows: list[dict[str, Any]] = []

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:  # Loggers write there too.
            if line.startswith('{"digest"'):
                rows.append(json.loads(line))
                return

    readers = [threading.Thread(target=read, args=(process,), daemon=True) for process in processes]
    end = time.monotonic() + seconds
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(max(0.0, end - time.monotonic()))
    return rows


def end(processes: list[subprocess.Popen[str]]) -> None:
    """Let all go, and kill what does not."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    left = children_of([process.pid for process in processes])
    deadline = time.monotonic() + 5
    for process in processes:
        with suppress(subprocess.TimeoutExpired):  # Killed below.
            process.wait(max(0.0, deadline - time.monotonic()))
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def trainings(folder: Path) -> list[list[tuple[float, float]]]:
    """Return when each training of each peer began and ended, seconds since 1970."""
    return [
        [(float(a), float(b)) for a, b in (line.split() for line in path.read_text().splitlines())]
        for path in sorted(folder.glob("*.txt"))
    ]


def measure(args: argparse.Namespace, start: Start) -> dict[str, Any]:
    """Run one network; return its figures under the names that `rounds.py` gives them."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        sent, started = loopback_bytes(), time.time()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = start(args, folder)
        memory = PeakMemory([process.pid for process in processes])
        memory.start()
        rows = rows_of(processes, args.patience)
        sent, peak_mb = loopback_bytes() - sent, memory.end()
        end(processes)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        return figures(args, rows, trainings(folder), started) | {
            "mb_sent_per_peer_per_round": round(sent / 1e6 / args.peers / args.heights, 3),
            "cpu_s_per_peer": round(cpu_s / args.peers, 3),
            "peak_pss_mb_per_peer": round(peak_mb, 1),
        }


def figures(
    args: argparse.Namespace,
    rows: list[dict[str, Any]],
    trained: list[list[tuple[float, float]]],
    started: float,
) -> dict[str, Any]:
    begins = [[begin for begin, _ in own] for own in trained]
    rounds = [later - earlier for own in begins for earlier, later in list(pairwise(own))[1:]]
    train = [end - begin for own in trained for begin, end in own]
    accuracies = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    median = statistics.median(rounds) if rounds else None
    took = statistics.median(train) if train else None
    return {
        "round_median_s": rounded(median),
        "round_max_s": rounded(max(rounds, default=None)),
        "train_median_s": rounded(took),
        "overhead_median_s": rounded(median - took if median and took else None),
        "first_training_s": rounded(max((own[0] - started for own in begins if own), default=None)),
        "finished": len(rows),
        "distinct_model_digests": len({row["digest"] for row in rows}),
        "accuracy": rounded(statistics.median(accuracies) if accuracies else None),
        "accuracy_min": rounded(min(accuracies, default=None)),
    }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def run(args: argparse.Namespace, system: str, start: Start) -> None:
    """Measure as often as asked for, in a network of its own, and print a row each."""
    is_own_network = enter_own_network()
    for _ in range(args.runs):
        row = {"system": system, "peers": args.peers, "task": args.task, "heights": args.heights}
        row |= {"fault": args.fault} | measure(args, start) | {"is_own_network": is_own_network} | machine()
        print(json.dumps(row) if args.json else "\n".join(f"{k:28} {v}" for k, v in row.items()), flush=True)
