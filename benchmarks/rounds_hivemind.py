"""The tasks of `rounds.py` with hivemind's DecentralizedAverager, one process a peer, its defaults else.

    PYTHONPATH=. ENV/bin/python benchmarks/rounds_hivemind.py --peers 4 --task small [--fp16] [--json]

ENV has `torch==2.13.0`, then `hivemind==1.1.12` and what p2pfed's learners import (`msgspec coincurve`).
Groups have the size of the network, so that a round begins when all are there and nobody waits for
`min_matchmaking_time`. A round is a training, an all-reduce weighted by the number of examples, and the
averaged model in the trainer's hands; the first is left out.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import rounds_beside as beside

PREFIX = "rounds"
TIMEOUT_S = 300


def peer(args: argparse.Namespace) -> None:
    """Be one peer: print the address of its table, then a line of JSON with what happened."""
    import torch
    from hivemind import DHT, DecentralizedAverager
    from hivemind.compression import Float16Compression, NoCompression

    torch.set_num_threads(1)
    learner = beside.learner_of(args)
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
    for height in range(1, args.heights + 1):
        result = learner.train(weights, beside.context(args, height))
        with averager.get_tensors() as tensors:
            for tensor, array in zip(tensors, result.weights, strict=True):
                tensor.copy_(torch.from_numpy(array))
        averager.step(weight=float(result.examples), timeout=TIMEOUT_S)
        with averager.get_tensors() as tensors:
            weights = [tensor.numpy().copy() for tensor in tensors]
    beside.done(args, learner, weights)
    averager.shutdown()
    dht.shutdown()


def start(args: argparse.Namespace, folder: Path) -> list[subprocess.Popen[str]]:
    """Start all peers; the first is the contact of the others."""
    processes: list[subprocess.Popen[str]] = []
    join = ""
    for index in range(args.peers):
        processes.append(beside.spawn(args, folder, index, join))
        join = join or processes[0].stdout.readline().strip()  # type: ignore[union-attr]
    for process in processes[1:]:
        process.stdout.readline()  # type: ignore[union-attr]
    return processes


def main() -> None:
    parser = beside.options(__doc__)
    parser.add_argument("--fp16", action="store_true", help="compress what is averaged to half floats")
    args = parser.parse_args()
    if args.peer is not None:
        peer(args)
    else:
        beside.run(args, "hivemind" + " fp16" * args.fp16, start)


if __name__ == "__main__":
    main()
