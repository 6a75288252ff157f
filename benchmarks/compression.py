"""What codecs and momentum cost and gain: accuracy beside bytes, ten peers on 5,000 images of MNIST.

`python benchmarks/compression.py --data FILE.npz [--seeds 2] [--heights 60] [--only PART] [--json]`

Peers hold rows split by Dirichlet(1) and Dirichlet(0.1), an MLP with 32 hidden units, one pass in batches of
32 a height; 1,000 images are kept for the accuracy, which is the mean of the last five heights. The float32
twin averages floats. The parts are `codecs`, and `outer` and `attack`, which compare momentum with none at
equal bytes; `attack` has three liars and the default rule.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from twins import Choices, in_floats, in_integers

from p2pfed.aggregation.step import OuterStep
from p2pfed.learning.adapters.numpy_models import MLP, ClassifierLearner, Labelled, Schedule
from p2pfed.learning.learner import AppContext, initial_seed
from p2pfed.learning.partition import partition
from p2pfed.learning.session import Session
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import COORDINATE_MAX

PEERS, HIDDEN, TEST_ROWS, LAST = 10, 32, 1000, 5
NESTEROV = OuterStep(58982, 19661)
CODECS = (("int16", 1), ("int8", 1), ("int4", 1), ("sign", 1), ("top_k", 100), ("rand_k", 100))


def alie(honest: Sequence[Int16Vector]) -> Int16Vector:
    """Return the mean of the honest updates less their standard deviation (Baruch et al. 2019)."""
    table = np.array(honest, np.float64)
    moved = np.rint(table.mean(0) - table.std(0))
    return np.clip(moved, -COORDINATE_MAX, COORDINATE_MAX).astype(np.int16)


ATTACKS = {
    "sign_flip": lambda _height, _honest, own: -own,
    "alie": lambda _height, honest, _own: alie(honest),
}


def sessions(data: Path, alpha: str, seed: int) -> list[Session]:
    """Return the learners of all peers."""
    file = np.load(data)
    x = (file["x"].reshape(len(file["x"]), -1) / np.float32(255)).astype(np.float32)
    y = file["y"].astype(np.int64)
    public = Labelled(x[:TEST_ROWS], y[:TEST_ROWS])
    x, y = x[TEST_ROWS:], y[TEST_ROWS:]
    split = partition(y, PEERS, f"dirichlet:{alpha}", seed)
    nobody = Labelled(x[:0], y[:0])
    schedule = Schedule(epochs=1, batch=32, learning_rate=0.1)
    made = []
    for index, rows in enumerate(split):
        app = AppContext(index=index, peers=PEERS, seed=seed)
        learner = ClassifierLearner(
            MLP(x.shape[1], HIDDEN, 10), Labelled(x[rows], y[rows]), nobody, public, schedule,
            initial_seed(app), EMPTY_ROOT,
        )  # fmt: skip
        made.append(Session(learner, app))
    return made


def measured(accuracies: list[list[float]]) -> float:
    """Return the mean over seeds of the last heights."""
    return round(float(np.mean([run[-LAST:] for run in accuracies])), 4)


def codec_rows(data: Path, seeds: int, heights: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for alpha in ("1.0", "0.1"):
        peers = [sessions(data, alpha, seed) for seed in range(seeds)]
        whole = 4 * peers[0][0].manifest.size
        twin = measured([in_floats(group, heights)[0] for group in peers])
        rows.append({"alpha": alpha, "codec": "float32", "accuracy": twin, "bytes": whole})
        for codec, one_in in CODECS:
            runs = [in_integers(group, heights, Choices(codec=codec, one_in=one_in)) for group in peers]
            accuracy = measured([run[0] for run in runs])
            rows.append({
                "alpha": alpha, "codec": codec, "accuracy": accuracy, "bytes": runs[0][2],
                "fewer": round(whole / runs[0][2], 1), "to_float32": round(accuracy - twin, 4),
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def outer_rows(data: Path, seeds: int, heights: int, *, is_attacked: bool) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for alpha in ("1.0", "0.1"):
        peers = [sessions(data, alpha, seed) for seed in range(seeds)]
        for attack in (*ATTACKS, "none") if is_attacked else ("none",):
            rule, faulty = ("clip_nnm_trimmed_mean", 3) if is_attacked else ("mean", 0)
            found = {}
            for name, outer in (("off", OuterStep()), ("nesterov", NESTEROV)):
                choices = Choices(outer=outer, rule=rule, faulty=faulty)
                lie = ATTACKS.get(attack)
                found[name] = measured([in_integers(group, heights, choices, lie, 3)[0] for group in peers])
            gain = round(found["nesterov"] - found["off"], 4)
            rows.append({"alpha": alpha, "rule": rule, "attack": attack, **found, "gain": gain})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="npz with x (rows, 784) and y")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--heights", type=int, default=60)
    parser.add_argument("--only", choices=["codecs", "outer", "attack"])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    started_s, report = time.process_time(), {}
    if asked.only in (None, "codecs"):
        report["codecs"] = codec_rows(asked.data, asked.seeds, asked.heights)
    if asked.only in (None, "outer"):
        report["outer"] = outer_rows(asked.data, asked.seeds, asked.heights, is_attacked=False)
    if asked.only in (None, "attack"):
        report["attack"] = outer_rows(asked.data, asked.seeds, asked.heights, is_attacked=True)
    if asked.json:
        print(json.dumps({**report, "cpu_s": round(time.process_time() - started_s, 1)}))
        return
    for part, rows in report.items():
        print(part)
        for row in rows:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
