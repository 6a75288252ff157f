"""Each adapter on the digits beside the same model trained by the framework's own federated average.

python benchmarks/adapters.py parity        needs torch, scikit-learn, jax and flax
python benchmarks/adapters.py flower        needs flwr and scikit-learn; in examples/flower_digits

Peers, shares, local steps and heights are the same on both sides: here the network of p2pfed with the rule
mean in its integers, there a loop in the framework's own floats.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import p2pfed

PEERS, HEIGHTS, EPOCHS, BATCH, RATE = 7, 10, 5, 16, 0.2
ROOT = Path(__file__).resolve().parents[1]
FLOWER = ROOT / "examples" / "flower_digits"


def contexts(seed: int, partition: str) -> list[p2pfed.AppContext]:
    return [p2pfed.AppContext(index, PEERS, partition, seed) for index in range(PEERS)]


def by_torch(seed: int, partition: str) -> float:
    """Return the accuracy of McMahan's FedAvg in plain torch: state dicts, weighted by rows."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    shares = [p2pfed.digits(context) for context in contexts(seed, partition)]
    shared = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    rows = [len(train[1]) for train, _ in shares]
    for _ in range(HEIGHTS):
        states = []
        for (x, y), _ in shares:
            model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
            model.load_state_dict(shared.state_dict())
            steps = torch.optim.SGD(model.parameters(), lr=RATE)
            data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
            for _ in range(EPOCHS):
                for batch, labels in torch.utils.data.DataLoader(data, BATCH, shuffle=True):
                    steps.zero_grad()
                    nn.functional.cross_entropy(model(batch), labels).backward()
                    steps.step()
            states.append(model.state_dict())
        shared.load_state_dict(
            {n: sum(k * s[n] for k, s in zip(rows, states, strict=True)) / sum(rows) for n in states[0]}
        )
    x, y = (torch.from_numpy(part) for part in shares[0][1])
    return float((shared(x).argmax(1) == y).float().mean())


def by_sklearn(seed: int, partition: str) -> float:
    """Return the accuracy of averaged coef_ and intercept_."""
    from sklearn.linear_model import SGDClassifier

    shares = [p2pfed.digits(context) for context in contexts(seed, partition)]
    rows, dice = [len(train[1]) for train, _ in shares], np.random.default_rng(seed)
    peers = [SGDClassifier() for _ in shares]
    weight, bias = np.zeros((10, 64)), np.zeros(10)
    for _ in range(HEIGHTS):
        for model, ((x, y), _) in zip(peers, shares, strict=True):
            if hasattr(model, "coef_"):
                model.coef_[...], model.intercept_[...] = weight, bias
            for _ in range(EPOCHS):
                order = dice.permutation(len(y))
                model.partial_fit(x[order], y[order], classes=np.arange(10))
        weight = np.average([model.coef_ for model in peers], axis=0, weights=rows)
        bias = np.average([model.intercept_ for model in peers], axis=0, weights=rows)
    peers[0].coef_[...], peers[0].intercept_[...] = weight, bias
    return float(peers[0].score(*shares[0][1]))


def by_jax(seed: int, partition: str) -> float:
    """Return the accuracy of FedAvg by tree_map over a Flax model's parameters."""
    import jax
    import jax.numpy as jnp
    from flax import linen

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(10)(linen.relu(linen.Dense(32)(x)))

    model = Model()

    def loss(params: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(model.apply(params, x)), y[:, None], 1).mean()

    @jax.jit
    def step(params: Any, x: Any, y: Any) -> Any:
        return jax.tree_util.tree_map(lambda w, g: w - RATE * g, params, jax.grad(loss)(params, x, y))

    shares = [p2pfed.digits(context) for context in contexts(seed, partition)]
    rows, dice = [len(train[1]) for train, _ in shares], np.random.default_rng(seed)
    shared = model.init(jax.random.key(seed), shares[0][0][0])
    for _ in range(HEIGHTS):
        trained = []
        for (x, y), _ in shares:
            params = shared
            for _ in range(EPOCHS):
                order = dice.permutation(len(y))
                for start in range(0, len(y), BATCH):
                    chosen = order[start : start + BATCH]
                    params = step(params, x[chosen], y[chosen])
            trained.append(params)
        shared = jax.tree_util.tree_map(
            lambda *leaves: sum(k * leaf for k, leaf in zip(rows, leaves, strict=True)) / sum(rows), *trained
        )
    x, y = shares[0][1]
    return float((np.asarray(model.apply(shared, x)).argmax(1) == y).mean())


def sklearn_learner(context: p2pfed.AppContext) -> p2pfed.SklearnLearner:
    from sklearn.linear_model import SGDClassifier

    train, test = p2pfed.digits(context)
    return p2pfed.SklearnLearner(SGDClassifier(), context, train, test, epochs=EPOCHS)


FRAMEWORKS: dict[str, tuple[Any, Any]] = {
    "torch": (f"{ROOT / 'examples' / 'torch_digits.py'}:learner", by_torch),
    "scikit-learn": (sklearn_learner, by_sklearn),
    "jax": (f"{ROOT / 'examples' / 'jax_digits.py'}:learner", by_jax),
}


def parity(names: list[str], seeds: int, partition: str) -> None:
    print("| adapter | p2pfed, rule mean | its own average | difference |\n|---|---|---|---|")
    for name in names:
        learner, alone = FRAMEWORKS[name]
        ours, theirs = [], []
        for seed in range(seeds):
            run = p2pfed.simulate(
                learner, PEERS, heights=HEIGHTS, rule="mean", outer=None, partition=partition, seed=seed
            )
            assert run.violations == (), run.violations
            ours.append(run.accuracy)
            theirs.append(alone(seed, partition))
        points = 100 * (mean(ours) - mean(theirs))
        print(f"| {name} | {mean(ours):.4f} | {mean(theirs):.4f} | {points:+.2f} points |", flush=True)


def flower(seeds: int) -> None:
    """Print what Flower's own FedAvg reaches with the app, and p2pfed with it, with and without a liar."""
    os.chdir(FLOWER)
    sys.path.insert(0, str(FLOWER))
    from digits_app import task
    from digits_app.client_app import app
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
    from flwr.serverapp.strategy import FedAvg

    logging.getLogger("flwr").setLevel("ERROR")
    peers, name = 5, "flower:digits_app.client_app:app"
    parts = [task.load_data(part, peers) for part in range(peers)]
    x, y = np.concatenate([part[2] for part in parts]), np.concatenate([part[3] for part in parts])

    def accuracy(weight: Any, bias: Any) -> float:
        return float(np.mean(task.chances(weight, bias, x).argmax(1) == y))

    def simulated(rule: str, byzantine: dict[str, int], seed: int) -> float:
        run = p2pfed.simulate(name, peers, byzantine, HEIGHTS, rule=rule, outer=None, seed=seed)
        assert run.violations == (), run.violations
        return accuracy(*run.model.values())

    def by_flower() -> float:
        p2pfed.FlowerLearner  # noqa: B018 - it names the process for Flower's messages
        run_config = {"local-epochs": EPOCHS, "learning-rate": RATE}
        states = [Context(0, 1, {"partition-id": part, "num-partitions": peers}, RecordDict(), run_config)
                  for part in range(peers)]  # fmt: skip
        strategy, arrays = FedAvg(), ArrayRecord([np.zeros((64, 10), np.float32), np.zeros(10, np.float32)])
        for turn in range(1, HEIGHTS + 1):
            content = RecordDict(
                {"arrays": arrays, "config": ConfigRecord({"lr": RATE, "server-round": turn})}
            )
            replies = [
                app(Message(content=content, dst_node_id=1, message_type="train"), state) for state in states
            ]
            arrays, _ = strategy.aggregate_train(turn, replies)
        return accuracy(*arrays.to_numpy_ndarrays())

    liar = {"sign_flip:scale=4": 1}
    rows: dict[str, list[float]] = {}
    for seed in range(seeds):
        clean = simulated("mean", {}, seed)
        rows.setdefault("p2pfed, rule mean, no liar", []).append(clean)
        rows.setdefault("Flower's own FedAvg, no liar", []).append(by_flower())
        rows.setdefault("p2pfed, rule mean, 1 of 5 flips the sign", []).append(simulated("mean", liar, seed))
        robust = "clip_nnm_trimmed_mean"
        rows.setdefault("p2pfed, default rule, no liar", []).append(simulated(robust, {}, seed))
        rows.setdefault("p2pfed, default rule, 1 of 5 flips the sign", []).append(
            simulated(robust, liar, seed)
        )
    print("| training | accuracy |\n|---|---|")
    for label, values in rows.items():
        print(f"| {label} | {mean(values):.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("parity", "flower"))
    parser.add_argument("--only", choices=FRAMEWORKS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--partition", default="dirichlet:1.0")
    given = parser.parse_args()
    if given.what == "parity":
        parity(given.only or list(FRAMEWORKS), given.seeds, given.partition)
    else:
        flower(given.seeds)


if __name__ == "__main__":
    main()
