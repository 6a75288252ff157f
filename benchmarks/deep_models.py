"""A CNN with batch norm, an LSTM and a small transformer: the network's integers beside a float32 twin.

`python benchmarks/deep_models.py [--model cnn|lstm|transformer] [--heights 25] [--seeds 2] [--json]`

Needs torch (`pip install torch==2.13.0`) besides p2pfed. Five peers hold the digits split by Dirichlet(1);
each trains one pass a height. `accuracy` is the mean of the last five heights on the public test digits.
`late` is the same with two peers that train from a model two heights older, aligned and shrunk as P5 of
docs/spec/numerics.md says; its twin weighs their float updates by 1/sqrt(3). Statistics (running means and
variances) are averaged, counters stay with the peer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
from torch import nn
from twins import Choices, in_floats, in_integers

from p2pfed.learning.datasets import load_digits
from p2pfed.learning.learner import ACCURACY_PUBLIC, AppContext, Array, Metrics, TrainContext, TrainResult
from p2pfed.learning.partition import partition
from p2pfed.learning.session import Session
from p2pfed.types.model import ArraySpec, Manifest

PEERS, BATCH, LAST = 5, 32, 5
LATE = {3: 2, 4: 2}
CODECS = ("int16", "int8")


class Cnn(nn.Module):
    """Two convolutions with batch norm; the first layer sees raw pixels from 0 to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(1), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Linear(16 * 16, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(16 * x.reshape(-1, 1, 8, 8))


class Lstm(nn.Module):
    """Reads the eight lines of a digit one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x.reshape(-1, 8, 8))[0][:, -1])


class Transformer(nn.Module):
    """Eight lines as tokens, two layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.zeros(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.embed(x.reshape(-1, 8, 8)) + self.place).mean(1))


MODELS = {
    "cnn": (Cnn, lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9)),
    "lstm": (Lstm, lambda parameters: torch.optim.Adam(parameters, 1e-2)),
    "transformer": (Transformer, lambda parameters: torch.optim.Adam(parameters, 3e-3)),
}


class TorchLearner:
    """A torch module with one peer's digits: a Learner."""

    def __init__(self, name: str, x: Array, y: Array, test_x: Array, test_y: Array, seed: int) -> None:
        torch.manual_seed(seed)
        kind, self._optimiser = MODELS[name]
        self._module = kind()
        self._x, self._y = torch.tensor(x), torch.tensor(y)
        self._test_x, self._test_y = torch.tensor(test_x), torch.tensor(test_y)
        self._names = list(self._module.state_dict())
        self._trained = dict(self._module.named_parameters())

    def weights(self) -> list[Array]:
        return [self._module.state_dict()[name].numpy().copy() for name in self._names]

    def manifest(self) -> Manifest:
        """Return the arrays: parameters are trained, buffers of floats are statistics, counters local."""
        specs = []
        for name, array in zip(self._names, self.weights(), strict=True):
            kind = (
                "trained" if name in self._trained else "statistic" if array.dtype == np.float32 else "local"
            )
            specs.append(ArraySpec(name, array.shape, str(array.dtype), kind, name.endswith("running_var")))
        return Manifest(tuple(specs))

    def train(self, weights: list[Array], context: TrainContext) -> TrainResult:
        self._load(weights)
        module, optimiser = self._module.train(), self._optimiser(self._module.parameters())
        order = np.random.default_rng(context.seed).permutation(len(self._y))
        for start in range(0, len(order) - 1, BATCH):
            chosen = order[start : start + BATCH]
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(self._x[chosen]), self._y[chosen]).backward()
            optimiser.step()
        return TrainResult(self.weights(), len(self._y))

    def evaluate(self, weights: list[Array], context: TrainContext) -> Metrics:
        self._load(weights)
        with torch.no_grad():
            hits = (self._module.eval()(self._test_x).argmax(1) == self._test_y).float().mean()
        return {ACCURACY_PUBLIC: float(hits)}

    def _load(self, weights: list[Array]) -> None:
        arrays = [torch.from_numpy(np.ascontiguousarray(array)) for array in weights]
        self._module.load_state_dict(dict(zip(self._names, arrays, strict=True)))


def sessions(name: str, seed: int) -> list[Session]:
    """Return the learners of all peers; made anew for each training, for counters stay with a learner."""
    data = load_digits()
    x, y = data.features(data.x_train), data.y_train
    test_x, test_y = data.features(data.x_test), data.y_test
    split = partition(y, PEERS, "dirichlet:1.0", seed)
    return [
        Session(
            TorchLearner(name, x[rows], y[rows], test_x, test_y, seed), AppContext(index, PEERS, seed=seed)
        )
        for index, rows in enumerate(split)
    ]


def compared(name: str, heights: int, seeds: int) -> list[dict[str, object]]:
    """Return a row for each way to train one model."""
    rows: list[dict[str, object]] = []
    for late in ({}, LATE):
        twin = measured([in_floats(sessions(name, seed), heights, late)[0] for seed in range(seeds)])
        for codec in CODECS if not late else CODECS[:1]:
            choices = Choices(codec=codec, late=late)
            runs = [in_integers(sessions(name, seed), heights, choices) for seed in range(seeds)]
            accuracy, model = measured([run[0] for run in runs]), runs[0][1]
            rows.append({
                "model": name, "late": bool(late), "codec": codec, "float32": twin, "accuracy": accuracy,
                "difference": round(accuracy - twin, 4), "groups": len(model.update_exponents),
                "e": [int(model.update_exponents.min()), int(model.update_exponents.max())],
                "m": [int(model.model_exponents.min()), int(model.model_exponents.max())],
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def measured(runs: list[list[float]]) -> float:
    """Return the mean over seeds of the last heights."""
    return round(float(np.mean([run[-LAST:] for run in runs])), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", choices=list(MODELS))
    parser.add_argument("--heights", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started_s = time.process_time()
    rows = [
        row
        for name in ([asked.model] if asked.model else MODELS)
        for row in compared(name, asked.heights, asked.seeds)
    ]
    if asked.json:
        print(json.dumps({"rows": rows, "cpu_s": round(time.process_time() - started_s, 1)}))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
