"""For data of your own in a CSV file: each peer reads the file, takes its share, and trains on that.

One header line, then numbers; the last column is the class, a whole number from 0. Without an argument the
file is example.csv, made of the digits that ship. Prints how many rows of which class each of five peers has
under three splits, and writes own_data.svg: one of the five lies, and the more unlike the rows of peers are,
the more that costs. Expect at least 0.93 where they are alike.

python examples/own_data.py [FILE.csv]
p2pfed testnet create --app examples/own_data.py:learner --data-dir FILE.csv --partition dirichlet:0.3
"""

from __future__ import annotations

import csv
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

import p2pfed
from p2pfed.learning.learner import Array, Metrics, TrainContext, TrainResult

SPLITS = ("iid", "dirichlet:0.3", "label:2")


@lru_cache(maxsize=1)  # Peers that are simulated share one process.
def read(path: str) -> tuple[Array, Array]:
    """Return the rows of a file, x of shape `(rows, columns)` and y; raises LearnerError, one sentence."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise p2pfed.LearnerError(f"{path} can't be read as a CSV file with a header: {error}") from None
    rows = np.empty((len(lines), len(header)), np.float32)
    for number, line in enumerate(lines, start=2):
        try:
            rows[number - 2] = [float(cell) for cell in line]
        except ValueError:
            raise p2pfed.LearnerError(f"{path}, row {number}: {len(header)} numbers are needed") from None
    if not len(rows) or not np.isfinite(rows).all() or not np.isin(rows[:, -1], range(256)).all():
        raise p2pfed.LearnerError(
            f"{path}: finite numbers are needed, in the last column whole ones, 0 to 255"
        )
    return rows[:, :-1], rows[:, -1].astype(np.int64)


class Softmax:
    """Softmax regression; every fifth row of the file is public, to test with."""

    def __init__(self, context: p2pfed.AppContext) -> None:
        x, y = read(context.data_dir)
        self.classes, is_public = int(y.max()) + 1, np.arange(len(y)) % 5 == 4
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
        self.x, self.y = p2pfed.share(x[~is_public], y[~is_public], context)  # As context.partition says.
        self.test_x, self.test_y = x[is_public], y[is_public]

    def weights(self) -> list[Array]:
        return [np.zeros((self.x.shape[1], self.classes), np.float32), np.zeros(self.classes, np.float32)]

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        slope, offset = weights
        for _ in range(10):
            scores = self.x @ slope + offset
            chance = np.exp(scores - scores.max(1, keepdims=True))
            error = (chance / chance.sum(1, keepdims=True) - np.eye(self.classes)[self.y]) / len(self.y)
            slope -= (self.x.T @ error).astype(np.float32)
            offset -= error.sum(0).astype(np.float32)
        return TrainResult([slope, offset], examples=len(self.y))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        named = (self.test_x @ weights[0] + weights[1]).argmax(1)
        return {"acc(public)": float((named == self.test_y).mean())}


learner = Softmax


def example(path: str) -> str:
    """Write the 1,400 digits of the training part that ships, a column a pixel; return the path."""
    (x, y), _ = p2pfed.digits(p2pfed.AppContext())
    header = ",".join([*(f"pixel{number}" for number in range(x.shape[1])), "class"])
    np.savetxt(path, np.column_stack([x, y]), "%g", ",", header=header, comments="")
    return path


def main(path: str) -> None:
    """Show the shares of five peers under each split, train them, and draw what came of it."""
    curves = {}
    for split in SPLITS:
        shares = [Softmax(p2pfed.AppContext(peer, 5, split, data_dir=path)) for peer in range(5)]
        for peer, own in enumerate(shares):
            print(f"{split:<14} peer {peer}: {np.bincount(own.y, minlength=own.classes)}")
        network = {"byzantine": {"sign_flip:scale=4": 1}, "heights": 4, "partition": split, "data_dir": path}
        curves[split] = p2pfed.simulate(learner, 5, **network).curve()
    picture = p2pfed.chart(curves, "Rows of one CSV file, split among five peers in three ways; one lies")
    Path("own_data.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else example("example.csv"))
    except p2pfed.P2PFedError as error:
        sys.exit(f"own_data.py: {error}")
