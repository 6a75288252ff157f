"""The server, which Flower runs; p2pfed asks it once for the initial model and the settings."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_app.task import CLASSES, FEATURES

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    zeros = [np.zeros((FEATURES, CLASSES), np.float32), np.zeros(CLASSES, np.float32)]
    FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(zeros),
        train_config=ConfigRecord({"lr": context.run_config["learning-rate"]}),
        num_rounds=context.run_config["num-server-rounds"],
    )
