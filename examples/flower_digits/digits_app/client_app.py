"""The client, by Flower's Message API."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app import task

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    x, y, _, _ = task.load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    weight, bias = message.content["arrays"].to_numpy_ndarrays()
    epochs, rate = context.run_config["local-epochs"], message.content["config"]["lr"]
    arrays = ArrayRecord(list(task.train(weight, bias, x, y, epochs, rate)))
    metrics = MetricRecord({"num-examples": len(y)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    _, _, x, y = task.load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    weight, bias = message.content["arrays"].to_numpy_ndarrays()
    hits = float(np.mean(task.chances(weight, bias, x).argmax(1) == y))
    metrics = MetricRecord({"accuracy": hits, "num-examples": len(y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
