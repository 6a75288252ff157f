"""The two halves of the app that `rounds_flower.py` runs: FedAvg at the server, a learner at each node.

The run config has `task`, `peers`, `heights` and `settings` (`rounds_tasks.build`, as JSON); the config of a
node its `index`. At the end the server writes what it has to the file that the setting `result` names.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from rounds_tasks import build

from p2pfed.learning.learner import Learner, TrainContext

client = ClientApp()
server = ServerApp()


def _learner(context: Context, index: int) -> Learner:
    config: dict[str, Any] = context.run_config
    return build(str(config["task"]), index, int(config["peers"]), json.loads(str(config["settings"])))


@client.train()
def train(message: Message, context: Context) -> Message:
    index, height = int(context.node_config["index"]), int(message.content["config"]["server-round"])
    weights = message.content["arrays"].to_numpy_ndarrays(keep_input=False)
    seed = TrainContext(height, height - 1, height * 1000 + index)
    result = _learner(context, index).train(weights, seed)
    metrics = MetricRecord({"num-examples": result.examples})
    content = RecordDict({"arrays": ArrayRecord(result.weights), "metrics": metrics})
    return Message(content=content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    config: dict[str, Any] = context.run_config
    peers, heights = int(config["peers"]), int(config["heights"])
    learner = build(str(config["task"]), 0, peers, json.loads(str(config["settings"])) | {"times": ""})
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=peers, min_available_nodes=peers)
    found = strategy.start(grid, ArrayRecord(learner.weights()), num_rounds=heights)
    weights = found.arrays.to_numpy_ndarrays()
    scores = learner.evaluate(weights, TrainContext(heights, heights, 0))
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).hexdigest()
    row = {"digest": digest, "accuracy": scores.get("acc(public)")}
    Path(json.loads(str(config["settings"]))["result"]).write_text(json.dumps(row))
