"""The tasks of `rounds.py` with p2pfl's Node over gRPC, one process a peer, its examples' settings.

    PYTHONPATH=. ENV/bin/python benchmarks/rounds_p2pfl.py --peers 4 --task small [--json]

ENV has `p2pfl==0.4.4`, `pyarrow<20`, `huggingface_hub<1`, `opendp` (without them it does not import) and what
p2pfed's learners import (`msgspec coincurve`). Its settings are those of all its examples
(`set_standalone_settings`); Ray is off, which simulates many nodes in one machine. All are connected with
all and in the train set; averaging is `FedAvg`. Its evaluation before each training is left out, to its
advantage. A round is the time from one training to the next.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rounds_beside as beside

POLL_S = 0.02


def peer(args: argparse.Namespace) -> None:
    """Be one peer: say when it is connected; the first begins when told and all are there."""
    from p2pfl.settings import Settings

    Settings.general.DISABLE_RAY = True  # Before anything else of it is imported: that starts Ray.
    Settings.general.LOG_DIR = json.loads(args.settings)["times"] + "/logs"
    from datasets import Dataset
    from p2pfl.learning.dataset.p2pfl_dataset import P2PFLDataset
    from p2pfl.learning.frameworks.learner import Learner
    from p2pfl.learning.frameworks.p2pfl_model import P2PFLModel
    from p2pfl.node import Node
    from p2pfl.utils.utils import set_standalone_settings, wait_convergence

    set_standalone_settings()
    learner, is_over = beside.learner_of(args), threading.Event()

    class Model(P2PFLModel):
        def get_parameters(self) -> Any:
            return self.model

        def set_parameters(self, params: Any) -> None:
            if isinstance(params, bytes):
                params, more = self.decode_parameters(params)
                self.additional_info.update(more)
            self.model = params

        def get_framework(self) -> str:
            return "numpy"

    class Trainer(Learner):
        height = 0

        def fit(self) -> Any:
            self.height += 1
            model = self.get_model()
            weights = [array.copy() for array in model.get_parameters()]
            result = learner.train(weights, beside.context(args, self.height))
            model.set_parameters(result.weights)
            model.set_contribution([self.addr], result.examples)
            return model

        def interrupt_fit(self) -> None:
            return None

        def evaluate(self) -> dict[str, float]:
            if self.height == args.heights:  # It is called once more at the end.
                is_over.set()
            return {}

        def get_framework(self) -> str:
            return "numpy"

    data = P2PFLDataset(Dataset.from_dict({"row": [0]}), batch_size=32, dataset_name="rounds")
    places = args.join.split(",")
    node = Node(Model(learner.weights()), data, addr=places[args.peer], learner=Trainer())
    node.start()
    for place in places[: args.peer]:
        node.connect(place)
    print("connected", flush=True)
    sys.stdin.readline()
    if args.peer == 0:
        wait_convergence([node], args.peers - 1, wait=60)
        node.set_start_learning(rounds=args.heights, epochs=1, trainset_size=args.peers)
    while not node.learning_workflow.finished and not is_over.is_set():
        time.sleep(POLL_S)  # It offers nothing to wait for; a node that stopped itself is never finished.
    beside.done(args, learner, node.get_model().get_parameters())
    node.stop()


def start(args: argparse.Namespace, folder: Path) -> list[subprocess.Popen[str]]:
    """Start all peers, wait until they are connected, and let the first begin."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(args.peers)]
    places = ",".join(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    processes = []
    for index in range(args.peers):
        processes.append(beside.spawn(args, folder, index, places))
        while (line := processes[-1].stdout.readline()) != "connected\n":  # type: ignore[union-attr]
            if not line:  # Its logger writes there too.
                raise SystemExit(f"peer {index} ended before it was connected")
    for process in processes:
        process.stdin.write("begin\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return processes


def main() -> None:
    args = beside.options(__doc__).parse_args()
    if args.peer is not None:
        peer(args)
    else:
        beside.run(args, "p2pfl", start)


if __name__ == "__main__":
    main()
