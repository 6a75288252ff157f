"""For those who know more of their liars: an aggregation rule of one's own, and one peer of seven that lies.

The pairwise median, of Hodges and Lehmann (1963): of each coordinate the median of the means of all pairs of
updates. Expect an accuracy of at least 0.88 on the digits that ship, where plain averaging ends below 0.5.
Writes own_rule.svg. A real network finds the rule by an entry point of a package that every peer installs:

    [project.entry-points."p2pfed.rules"]
    pairwise_median = "own_rule:RULE"

python examples/own_rule.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import p2pfed
from p2pfed.aggregation.catalogue import register
from p2pfed.aggregation.rule import Blockwise, Columns, Context, Rule
from p2pfed.learning.learner import Array


def holds(updates: int, liars: int) -> bool:
    """Answer whether more than half of all pairs are honest: then the median lies between honest ones."""
    honest = updates - liars
    return 2 * honest * (honest + 1) > updates * (updates + 1)


def four_medians(rows: Array) -> Array:
    """Return the two middle sums of pairs, added: four times the median. (rows, columns) -> (columns,)"""
    first, second = np.triu_indices(len(rows))  # A row and itself are a pair too.
    sums = np.sort(rows[first] + rows[second], axis=0)
    return sums[(len(sums) - 1) // 2] + sums[len(sums) // 2]


def plan(context: Context) -> Blockwise:
    """Tell how a group of columns is merged: all rows, by integers, over the denominator 4."""
    return Blockwise(Columns(four_medians), denominator=4, rows=range(context.count))


RULE = Rule(
    "pairwise_median",
    "2 (n - f) (n - f + 1) > n (n + 1)",
    holds,
    plan,
    uses_products=False,
    by_coordinate=True,
)


def train(rule: str) -> p2pfed.Simulated:
    """Train a network in which the last peer sends its updates reversed and four times as long."""
    params, liar = {"steps": 20}, {"sign_flip:scale=4": 1}
    return p2pfed.simulate("digits:softmax", 7, liar, 7, rule=rule, partition="dirichlet:1.0", params=params)


if __name__ == "__main__":
    register(RULE)
    own, mean = train(RULE.name), train("mean")
    print(own)
    curves = {"pairwise median": own.curve(), "plain averaging": mean.curve()}
    picture = p2pfed.chart(curves, "A rule of one's own, and one liar among seven peers")
    Path("own_rule.svg").write_text(picture, encoding="utf-8")
