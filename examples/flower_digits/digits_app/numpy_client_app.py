"""The same client as a NumPyClient, Flower's older interface."""

import numpy as np
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from digits_app import task


class DigitsClient(NumPyClient):
    """Trains on one partition."""

    def __init__(self, data, epochs, rate):
        self.x, self.y, self.x_test, self.y_test = data
        self.epochs, self.rate = epochs, rate

    def get_parameters(self, config):
        return [np.zeros((task.FEATURES, task.CLASSES), np.float32), np.zeros(task.CLASSES, np.float32)]

    def fit(self, parameters, config):
        return list(task.train(*parameters, self.x, self.y, self.epochs, self.rate)), len(self.y), {}

    def evaluate(self, parameters, config):
        chances = task.chances(*parameters, self.x_test)
        loss = -float(np.mean(np.log(chances[np.arange(len(self.y_test)), self.y_test] + 1e-9)))
        return loss, len(self.y_test), {"accuracy": float(np.mean(chances.argmax(1) == self.y_test))}


def client_fn(context: Context):
    data = task.load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    config = context.run_config
    return DigitsClient(data, config["local-epochs"], config["learning-rate"]).to_client()


app = ClientApp(client_fn=client_fn)
