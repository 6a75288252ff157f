"""The tasks of `rounds.py` with hivemind's DecentralizedAverager, one process a peer, its defaults else.

    PYTHONPATH=. ENV/bin/python benchmarks/rounds_hivemind.py --peers 4 --task small [--fp16] [--json]

ENV has `torch==2.13.0`, then `hivemind==1.1.12` and what p2pfed's learners import (`msgspec coincurve`).
Groups have the size of the network, so that a round begins when all are there and nobody waits for
`min_matchmaking_time`. A round is a training, an all-reduce weighted by the number of examples, and the
averaged model in the trainer's hands; the first is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import PeakMemory, enter_own_network, loopback_bytes, machine
from rounds_tasks import Big, Small, small_rows

from p2pfed.learning.learner import TrainContext

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "mnist5k.npz"
PREFIX = "rounds"
TIMEOUT_S = 300


def peer(args: argparse.Namespace) -> None:
    """Be one peer: print the address of its table, then a line of JSON with what happened."""
    import torch
    from hivemind import DHT, DecentralizedAverager
    from hivemind.compression import Float16Compression, NoCompression

    torch.set_num_threads(1)
    if args.task == "small":
        learner: Any = Small(*small_rows(str(args.data), args.peer, args.peers), seed=0)
    else:
        learner = Big(args.peer)
    weights = learner.weights()
    contacts = [args.join] if args.join else None
    dht = DHT(initial_peers=contacts, start=True, host_maddrs=["/ip4/127.0.0.1/tcp/0"])
    print(next(str(a) for a in dht.get_visible_maddrs() if "127.0.0.1" in str(a)), flush=True)
    averager = DecentralizedAverager(
        [torch.from_numpy(array.copy()) for array in weights],
        dht,
        start=True,
        prefix=PREFIX,
        target_group_size=args.peers,
        compression=Float16Compression() if args.fp16 else NoCompression(),
    )
    ends, trained, first = [], [], None
    for height in range(1, args.heights + 1):
        began = time.time()
        first = first or began
        result = learner.train(weights, TrainContext(height, height - 1, height * 1000 + args.peer))
        trained.append(time.time() - began)
        with averager.get_tensors() as tensors:
            for tensor, array in zip(tensors, result.weights, strict=True):
                tensor.copy_(torch.from_numpy(array))
        averager.step(weight=float(result.examples), timeout=TIMEOUT_S)
        with averager.get_tensors() as tensors:
            weights = [tensor.numpy().copy() for tensor in tensors]
        ends.append(time.time())
    figures = learner.evaluate(weights, TrainContext(args.heights, args.heights, 0))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    row = {"ends": ends, "trained": trained, "first": first, "digest": digest, "figures": figures}
    print(json.dumps(row), flush=True)
    sys.stdin.read()  # The others may still need our table.
    averager.shutdown()
    dht.shutdown()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one network; return its figures under the names that `rounds.py` gives them."""
    sent, started = loopback_bytes(), time.time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    processes: list[subprocess.Popen[str]] = []
    join = ""
    for index in range(args.peers):
        command = [sys.executable, *sys.argv, "--peer", str(index), *(["--join", join] if join else [])]
        processes.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        )
        if not join:
            join = processes[0].stdout.readline().strip()
    for process in processes[1:]:
        process.stdout.readline()
    memory = PeakMemory([process.pid for process in processes])
    memory.start()
    rows = [json.loads(line) for process in processes if (line := process.stdout.readline())]
    sent, peak_mb = loopback_bytes() - sent, memory.end()
    for process in processes:
        process.stdin.close()
    for process in processes:
        process.wait(TIMEOUT_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    rounds = [
        later - earlier
        for row in rows
        for earlier, later in zip(row["ends"][:-1], row["ends"][1:], strict=True)
    ]
    train = statistics.median(seconds for row in rows for seconds in row["trained"])
    median = statistics.median(rounds)
    return {
        "round_median_s": round(median, 4),
        "round_max_s": round(max(rounds), 4),
        "train_median_s": round(train, 4),
        "overhead_median_s": round(median - train, 4),
        "first_training_s": round(max(row["first"] for row in rows) - started, 4),
        "finished": len(rows),
        "distinct_model_digests": len({row["digest"] for row in rows}),
        "accuracy": round(statistics.median(row["figures"].get("acc(public)", 0.0) for row in rows), 4),
        "mb_sent_per_peer_per_round": round(sent / 1e6 / args.peers / args.heights, 3),
        "cpu_s_per_peer": round(
            (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) / args.peers, 3
        ),
        "peak_pss_mb_per_peer": round(peak_mb, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--task", choices=("small", "big"), default="small")
    parser.add_argument("--heights", type=int, default=20)
    parser.add_argument("--fp16", action="store_true", help="compress what is averaged to half floats")
    parser.add_argument("--data", type=Path, default=DATA, help="mnist5k.npz, for the task small")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--join", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer is not None:
        peer(args)
        return
    is_own_network = enter_own_network()
    for _ in range(args.runs):
        row = {"system": "hivemind" + " fp16" * args.fp16, "peers": args.peers, "task": args.task}
        row |= {"heights": args.heights} | measure(args) | {"is_own_network": is_own_network} | machine()
        print(json.dumps(row) if args.json else "\n".join(f"{k:28} {v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
