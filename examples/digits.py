"""For a first look: seven peers learn to read digits, each has some of them more often, two lie.

Without an argument the 1,797 digits that ship with p2pfed; with the folder of MNIST's four IDX files (as they
are or as .gz) its 70,000. Expect an accuracy of at least 0.9 on the first, of 0.88 on the second after the
few steps that are taken here. Writes digits.svg or mnist.svg, which has plain averaging beside it.

python examples/digits.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import p2pfed


def main(folder: str = "") -> None:
    """Train on the digits that ship, or on the MNIST of a folder, and draw what came of it."""
    data = "mnist" if folder else "digits"
    network = {
        "peers": 7,
        "byzantine": {
            "sign_flip:scale=4": 2
        },  # The last two send their update reversed and four times as long.
        "heights": 5,
        "partition": "dirichlet:1.0",
        "params": {"steps": 40},
        "data_dir": folder,
    }
    robust = p2pfed.simulate(f"{data}:mlp", **network)
    mean = p2pfed.simulate(f"{data}:mlp", **network, rule="mean")
    print(robust)
    curves = {"the default rule": robust.curve(), "plain averaging": mean.curve()}
    picture = p2pfed.chart(curves, f"Two liars among seven peers: {data}")
    Path(f"{data}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except p2pfed.P2PFedError as error:
        sys.exit(f"digits.py: {error}")
