"""Which figures tell a replaced model with a mark on images from an honest step: their distributions.

    python benchmarks/gate_figures.py --seeds 40 [--split iid] [--outer off] [--share 1] --json

The networks of benchmarks/gate.py, rule `mean`, without regard to what the gate says. Of each step:
`length` over the median of the last 20, and what the median of the seven honest validators finds on its own
hold-out: `differ`, the share that the models before and after name differently; `shift`, by how much the
probabilities of classes move (total variation); `loss`, by how much the loss grows; `class`, the largest
change of the share of one class among all names. Honest steps are those from height 5 on of networks in which
nobody replaces anything; of the replaced ones those count that took.
"""

from __future__ import annotations

import argparse
import json
from statistics import median, median_low
from typing import Any

import numpy as np
from gate import LIARS, STRIKE, TAKEN, Trial, parser
from measuring import machine

from p2pfed.cli.founding_options import parse_gate
from p2pfed.learning.delta import unflatten
from p2pfed.learning.pace import STEPS_KEPT, step_length
from p2pfed.learning.session import Session
from p2pfed.ledger.module import Word
from p2pfed.privacy.mechanism import model_view
from p2pfed.types.model import ModelState

FIGURES = ("length", "differ", "shift", "loss", "class")
STEPS_LEAST, HONEST_FROM = 3, 5
FALSE_MAX = 0.02


class Measured(Trial):
    """A trial that keeps the figures of each step: (height, {figure: value})."""

    def __init__(self, seed: int, kind: str, gate: tuple[int, int, int], options: argparse.Namespace) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self._lengths: list[float] = []
        super().__init__(seed, kind, gate, options)

    def _merge(self, height: int) -> None:
        self._before: ModelState = self.model
        super()._merge(height)

    def _words(self, height: int) -> list[Word]:
        groups = self.sessions[0].manifest.groups
        length = step_length(self._before, self.model, groups)
        if len(self._lengths) >= STEPS_LEAST:
            views = [model_view(model, groups) for model in (self._before, self.model)]
            found = [_on_hold_out(session, views) for session in self.sessions[LIARS:]]
            figures = {name: median_low(one[name] for one in found) for name in FIGURES[1:]}
            figures["length"] = length / median(self._lengths[-STEPS_KEPT:])
            self.rows.append((height, figures))
        self._lengths.append(length)
        return super()._words(height)


def _on_hold_out(session: Session, views: list[Any]) -> dict[str, float]:
    """Return the figures of one validator: of the models before and after, on its own hold-out."""
    learner: Any = session._learner
    rows, classes = learner._held_out, learner._model.classes
    logits = [
        learner._model.logits(unflatten(view, session.manifest, session._local), rows.x) for view in views
    ]
    names = [one.argmax(axis=1) for one in logits]
    shares = [np.exp(one - one.max(axis=1, keepdims=True)) for one in logits]
    shares = [one / one.sum(axis=1, keepdims=True) for one in shares]
    losses = [-np.log(one[np.arange(len(rows.y)), rows.y] + 1e-9).mean() for one in shares]
    counts = [np.bincount(one, minlength=classes) for one in names]
    return {
        "differ": float((names[0] != names[1]).mean()),
        "shift": float(np.abs(shares[1] - shares[0]).sum(axis=1).mean() / 2),
        "loss": float(losses[1] - losses[0]),
        "class": float(np.abs(counts[1] - counts[0]).max() / len(rows.y)),
    }


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    gate, trials = parse_gate(options.gate), {}
    for kind in ("none", "mark"):
        trials[kind] = [Measured(seed, kind, gate, options) for seed in range(1, options.seeds + 1)]
        for one in trials[kind]:
            one.run()
    took = [one for one in trials["mark"] if one.taken >= TAKEN]
    print(json.dumps(machine() | {"took": len(took), "of": options.seeds}))
    for name in FIGURES:
        honest = np.array([row[name] for one in trials["none"] for at, row in one.rows if at >= HONEST_FROM])
        bad = np.array([row[name] for one in took for at, row in one.rows if at == STRIKE])
        line = np.quantile(honest, 1 - FALSE_MAX)
        row = {
            "figure": name,
            "honest_median": np.median(honest),
            "honest_98": line,
            "honest_most": honest.max(),
        }
        if len(bad):
            row |= {"took_least": bad.min(), "took_median": np.median(bad), "above_98": (bad > line).mean(),
                    "above_most": (bad > honest.max()).mean()}  # fmt: skip
        print(
            json.dumps(
                {key: value if key == "figure" else round(float(value), 3) for key, value in row.items()}
            )
        )


if __name__ == "__main__":
    main()
