"""What free riders, copies and split identities earn beside honest trainers, and what scoring costs.

Real learners on the digits train a real chain of models; at each height one rider joins the honest updates,
and the scores are those that every peer would compute. Pay is summed over heights.

    python benchmarks/contribution.py            # all set-ups, about a minute of CPU
    python benchmarks/contribution.py --cost     # the time of scores beside that of one aggregation
    python benchmarks/contribution.py --copies   # what copiers earn in networks of whole simulated peers
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.contribution import contribution, group_products
from p2pfed.aggregation.engine import Merge, merge
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.past import Past, past_direction
from p2pfed.aggregation.sketch import UNIT, signs
from p2pfed.aggregation.staleness import aligned
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.founding import found_in_process
from p2pfed.learning.learner import ACCURACY_PUBLIC, AppContext
from p2pfed.learning.session import Session
from p2pfed.node import pledges
from p2pfed.privacy.mechanism import model_view, quantise
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState

HONEST, BOND, PARTS = 8, 100, 10
SPREADS = (0.0, 0.15, 0.25, 0.5)
CHAIN = bytes(range(32))
COSTS = ((16, 1_000_000), (100, 1_000_000), (16, 10_000_000))
SETUPS = (
    ("softmax", "iid", "1", "64", "0.5", 20),
    ("softmax", "dirichlet:1.0", "1", "64", "0.5", 20),
    ("mlp", "dirichlet:1.0", "1", "16", "0.1", 20),
    ("mlp", "dirichlet:0.3", "5", "16", "0.2", 20),
    ("mlp", "iid", "5", "16", "0.2", 40),
)
Row = Int16Vector


class Height(Struct):
    """What a rider may look at: the honest updates now and before, the last aggregate, and its dice."""

    rows: list[Row]
    before: list[Row]
    direction: Row
    first: Row
    dice: np.random.Generator


class Scorer:
    """Scores that remember the height before, as a chain does."""

    def __init__(self, manifest: Manifest) -> None:
        self.groups = manifest.groups
        self.sign = signs(CHAIN, manifest.size)
        self.past: dict[str, tuple[bytes, ...]] = {}

    def __call__(
        self, name: str, rows: list[Row], bonds: list[int], state: ModelState, result: Merge
    ) -> list[int]:
        """Return the pay of each update in a history of its own, `name`."""
        found = contribution(
            self.groups,
            rows,
            bonds,
            update_exponents=state.update_exponents.tolist(),
            aggregate=result.aggregate,
            model_exponents=state.model_exponents.tolist(),
            sign=self.sign,
            past=self.past.get(name, ()),
        )
        self.past[name] = (found.aggregate, *found.sketches)
        return [value * bond for value, bond in zip(found.values, bonds, strict=True)]


def noise(at: Height, share: float = 1.0) -> Row:
    sizes = np.median([np.linalg.norm(row.astype(float)) for row in at.rows])
    values = at.dice.normal(0, 1, at.rows[0].size)
    return clipped(values * share * sizes / np.linalg.norm(values))


def clipped(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Row:
    return np.clip(np.rint(values), -32767, 32767).astype(np.int16)


def mixed(at: Height) -> Row:
    """Return the last aggregate's direction in as much noise: a replay that is none any more."""
    sizes = np.median([np.linalg.norm(row.astype(float)) for row in at.rows])
    replay = at.direction.astype(float)
    return clipped(replay * 0.7 * sizes / max(1.0, float(np.linalg.norm(replay))) + noise(at, 0.7))


RIDERS: dict[str, Callable[[Height], Row]] = {
    "zero": lambda at: np.zeros_like(at.rows[0]),
    "noise": noise,
    "last aggregate": lambda at: at.direction,
    "its own first update": lambda at: at.first,
    "another's last update": lambda at: at.before[0],
    "a copy of this height": lambda at: at.rows[0],
    "last aggregate in noise": mixed,
}


def setup(
    model: str, split: str, epochs: str, batch: str, rate: str, heights: int, seed: int
) -> dict[str, object]:
    """Return what each rider earned over the heights, as a share of an honest trainer's pay."""
    params = {"epochs": epochs, "batch": batch, "lr": rate, "holdout": "0"}
    contexts = [AppContext(index, HONEST, split, seed, "", params) for index in range(HONEST)]
    learners = [Session(builtin_learner("digits", model, of), of) for of in contexts]
    state, manifest = found_in_process(learners[0], 12).model, learners[0].manifest
    dice, scorer = np.random.default_rng(seed), Scorer(manifest)
    earned = {name: np.zeros(HONEST + 1) for name in RIDERS}
    alone, single, parted = np.zeros(HONEST), np.zeros(len(SPREADS)), np.zeros(len(SPREADS))
    history: list[tuple[list[Row], ModelState, Merge]] = []
    for height in range(1, heights + 1):
        view = model_view(state, manifest.groups)
        rows = [
            quantise(learner.train(view, height, height - 1).delta, manifest.groups, state.update_exponents)
            for learner in learners
        ]
        result = merged(manifest, state, rows)
        at = seen(manifest, state, rows, history, dice)
        for name, rider in RIDERS.items():
            pay = scorer(name, [*rows, rider(at)], [BOND] * (HONEST + 1), state, result)
            earned[name] += np.array(pay) * (height > 1)  # At the first there is nothing to replay.
        alone += scorer("honest", rows, [BOND] * HONEST, state, result)
        for place, spread in enumerate(SPREADS):
            one, *ten = disturbed(rows[0], spread, 1 + PARTS, dice)
            single[place] += scorer(f"one {spread}", [*rows[1:], one], [BOND] * HONEST, state, result)[-1]
            bonds = [BOND] * (HONEST - 1) + [BOND // PARTS] * PARTS
            split_pay = scorer(f"ten {spread}", [*rows[1:], *ten], bonds, state, result)
            parted[place] += sum(split_pay[HONEST - 1 :])
        history = [*history[:1], (rows, state, result)]
        state = result.model
    accuracy = learners[0].evaluate(model_view(state, manifest.groups), heights, heights)[ACCURACY_PUBLIC]
    return {
        "setup": f"{model} {split}",
        "heights": heights,
        "d": manifest.size,
        "accuracy": round(float(accuracy), 3),
        "honest_scores": [round(float(pay) / heights / BOND / UNIT, 3) for pay in sorted(alone)],
        "riders": {
            name: round(float(sums[HONEST] / sums[:HONEST].mean()), 3) for name, sums in earned.items()
        },
        "ten_to_one": round(float(parted.max() / single.max()), 3),
        "ten_to_one_by_spread": [
            round(float(ten / max(one, 1)), 3) for ten, one in zip(parted, single, strict=True)
        ],
    }


def seen(
    manifest: Manifest,
    state: ModelState,
    rows: list[Row],
    history: list[tuple[list[Row], ModelState, Merge]],
    dice: np.random.Generator,
) -> Height:
    """Return what riders look at, all in the units of this height."""
    if not history:
        return Height(rows, rows, np.zeros_like(rows[0]), rows[3], dice)

    def today(row: Row, then: ModelState) -> Row:
        shifts = state.update_exponents.astype(int) - then.update_exponents
        pieces = [
            aligned(row[group.slice], shift)
            for group, shift in zip(manifest.groups, shifts.tolist(), strict=True)
        ]
        return np.concatenate(pieces)

    before, then, merge_before = history[-1]
    past = Past(merge_before.aggregate, then.model_exponents)
    direction = [
        past_direction(past, index, group.slice, int(state.update_exponents[index]))
        for index, group in enumerate(manifest.groups)
    ]
    first = today(history[0][0][3], history[0][1])
    return Height(rows, [today(row, then) for row in before], np.concatenate(direction), first, dice)


def disturbed(row: Row, spread: float, count: int, dice: np.random.Generator) -> list[Row]:
    """Return updates like `row`, each with noise of `spread` times its length."""
    length = float(np.linalg.norm(row.astype(float)))
    found = []
    for _ in range(count):
        values = dice.normal(0, 1, row.size)
        found.append(clipped(row + values * spread * length / np.linalg.norm(values)))
    return found


def merged(manifest: Manifest, state: ModelState, rows: list[Row], products: Tables | None = None) -> Merge:
    count = len(rows)
    return merge(
        manifest, state, rows, [1] * count, faulty_max=(count - 1) // 3, rule="clip_nnm_trimmed_mean",
        update_bits=12, examples_cap=4, products=products,
    )  # fmt: skip


def cost(updates: int, size: int) -> dict[str, object]:
    """Return the CPU time of one aggregation and of its scores, in ms; best of three.

    `known` is a peer's: it multiplies updates with each other as they come, for rule and scores alike.
    """
    dice = np.random.default_rng(1)
    manifest = Manifest((ArraySpec("w", (size,), "float32", "trained", nonnegative=False),))
    common = dice.normal(0, 500, size)
    rows = [clipped(common + dice.normal(0, 700, size)) for _ in range(updates)]
    ones = np.ones(len(manifest.groups), np.int8)
    state = ModelState(np.zeros(size, np.int32), 12 * ones, 20 * ones)
    tables = group_products(manifest.groups, rows, map)
    best: dict[str, float] = {}
    for _ in range(3):
        for name, known in (("", None), ("_known", tables)):
            start = time.process_time()
            result = merged(manifest, state, rows, known)
            middle = time.process_time()
            contribution(
                manifest.groups,
                rows,
                [10] * updates,
                update_exponents=(12 * ones).tolist(),
                aggregate=result.aggregate,
                model_exponents=(20 * ones).tolist(),
                sign=signs(CHAIN, size),
                past=(bytes(256),) * (updates + 1),
                products=known,
            )
            spent = {"aggregation": middle - start, "scores": time.process_time() - middle}
            for what, seconds in spent.items():
                best[what + name] = min(seconds, best.get(what + name, seconds))
    times = {f"{name}_ms": round(1000 * seconds) for name, seconds in best.items()}
    share = best["scores_known"] / best["aggregation_known"]
    return {"n": updates, "d": size, **times, "share_known": round(share, 2)}


def copies(kind: str, peers: int, seed: int, *, is_pledged: bool) -> float:
    """Return what a copier among whole peers was paid for its updates, as a share of an honest trainer.

    Where nothing `is_pledged`, updates are shown as soon as they are made, as where nothing is paid.
    """
    scenario = Scenario(peers=peers, heights=12, emission=1 << 40, byzantine=(kind,), seed=seed)
    are_asked_for = pledges.are_asked_for
    if not is_pledged:
        pledges.are_asked_for = lambda _: False
    try:
        world = World(scenario)
        violations = world.run().violations
    finally:
        pledges.are_asked_for = are_asked_for
    assert not violations
    earned = [world.judge.earned.get(peer, 0) for peer in range(peers)]
    return earned[-1] * (peers - 1) / sum(earned[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cost", action="store_true", help="only the time that scores take")
    parser.add_argument("--copies", action="store_true", help="only copiers in simulated networks")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.cost:
        for updates, size in COSTS:
            print(json.dumps(cost(updates, size)), flush=True)
        return
    if arguments.copies:
        for peers in (4, 8):
            for kind in ("copier", "copier:noise=0.2"):
                shares = {
                    name: [round(copies(kind, peers, seed, is_pledged=is_pledged), 3) for seed in range(1, 6)]
                    for name, is_pledged in (("pledged", True), ("not_pledged", False))
                }
                print(json.dumps({"peers": peers, "kind": kind, **shares}), flush=True)
        return
    for entry in SETUPS:
        print(json.dumps(setup(*entry, seed=arguments.seed)), flush=True)


if __name__ == "__main__":
    main()
