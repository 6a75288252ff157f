"""Use a model that a network agreed on: plain numpy, nothing of p2pfed.

p2pfed export --home net/peer0 -o model.npz
python examples/use_model.py model.npz
"""

from __future__ import annotations

import json
import sys

import numpy as np

IMAGE = """
..####..
.##..##.
.....##.
...###..
.....##.
.....##.
.##..##.
..####..
"""


def main(path: str) -> None:
    """Print what the model of `digits:mlp` sees in a hand-drawn 3, and where the model comes from."""
    with np.load(path) as arrays:
        hidden, hidden_bias, out, out_bias = (arrays[name] for name in arrays.files)
    with open(path + ".proof.json", encoding="utf-8") as file:
        proof = json.load(file)
    x = np.array([float(mark == "#") for mark in IMAGE if mark in ".#"], np.float32)
    scores = np.maximum(x @ hidden + hidden_bias, 0) @ out + out_bias
    print("a drawn 3 looks like", *np.argsort(-scores)[:2])
    print(f"model of height {proof['height']}, signed by {len(proof['signatures'])} validators")


if __name__ == "__main__":
    main(*sys.argv[1:])
