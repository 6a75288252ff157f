"""How a peer trains between two heights: batches, steps, rate, and the federated algorithms by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from p2pfed.learning.learner import LearnerError
from p2pfed.learning.settings import positive, whole

Algorithm = Literal["fedavg", "fedprox", "fedsgd", "diloco"]
ALGORITHMS: tuple[Algorithm, ...] = ("fedavg", "fedprox", "fedsgd", "diloco")
SETTINGS = ("algorithm", "epochs", "batch", "lr", "steps", "mu")
EPOCHS_MAX, BATCH_MAX = 10_000, 1_000_000
_PROXIMAL = "0.01"  # In the middle of what Li et al. 2020 try: 0.001 to 1.


class Schedule(Struct, frozen=True):
    """What happens in one training.

    epochs: Passes over all rows.
    batch: Rows of a step; 0 takes all at once.
    learning_rate: Of each step.
    steps: So many batches, over as many passes as they need; 0: `epochs` passes.
    algorithm: Where the name comes from. `fedsgd` is one step on all rows (McMahan et al. 2017). `fedprox`
        adds `proximal * (weights - agreed weights)` to each gradient (Li et al. 2020, arXiv:1812.06127).
        `diloco` steps with AdamW, whose moments a peer keeps from height to height (Douillard et al. 2023,
        arXiv:2311.08105); its outer steps are the network's, `--outer nesterov`.
    proximal: `mu` of FedProx; 0: none.
    """

    epochs: int
    batch: int
    learning_rate: float
    steps: int = 0
    algorithm: Algorithm = "fedavg"
    proximal: float = 0.0

    def batches(self, rows: int, dice: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of the rows of each step, drawn from `rows` rows without repetition in a pass."""
        step, done = self.batch or rows, 0
        for passing in count():
            if not self.steps and passing == self.epochs:
                return
            order = dice.permutation(rows) if step < rows else np.arange(rows)
            for start in range(0, rows, step):
                yield order[start : start + step]
                done += 1
                if done == self.steps:
                    return


def schedule_of(settings: Mapping[str, str], *, epochs: int, batch: int, lr: float) -> Schedule:
    """Return the schedule that an app's settings name; what they leave out is as the arguments say.

    Read are `algorithm`, `epochs`, `batch`, `lr`, `steps` and `mu`.

    Raises:
        LearnerError: An unknown algorithm, or a value out of range.
    """
    given = {"epochs": str(epochs), "batch": str(batch), "lr": str(lr), "steps": "0", "algorithm": "fedavg"}
    given |= {name: settings[name] for name in SETTINGS if name in settings}
    named = given["algorithm"]
    algorithm = next((known for known in ALGORITHMS if known == named), None)
    if algorithm is None:
        raise LearnerError(f"algorithm={named[:40]} is unknown; there are {', '.join(ALGORITHMS)}")
    if "mu" in given and algorithm != "fedprox":
        raise LearnerError(f"mu belongs to algorithm=fedprox, not to {algorithm}")
    if algorithm == "fedsgd":
        given |= {"steps": "1", "batch": "0"}
    given = {"mu": _PROXIMAL if algorithm == "fedprox" else "0"} | given
    return Schedule(
        epochs=whole(given, "epochs", 1, EPOCHS_MAX),
        batch=whole(given, "batch", 0, BATCH_MAX),
        learning_rate=positive(given, "lr"),
        steps=whole(given, "steps", 0, EPOCHS_MAX),
        algorithm=algorithm,
        proximal=positive(given, "mu", or_zero=True),
    )
