"""How far our rules are from byzfl's floats over many draws, hostile ones among them.

    python benchmarks/differences.py --byzfl-python PATH --draws 30 --json

For each rule that both define alike: the largest difference in quanta of an update, over draws of n updates
of d elements with f liars of six kinds. A rule that chooses rows may choose others only where its margin is
below one quantum: such draws are counted as `ties`. Columns in which two values are equally far from the
median are left out of `meamed`. Exit code 1 where anything else differs by more than 2 quanta.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from math import isqrt

import numpy as np
from aggregation import COMPARED, Byzfl, aggregate, differences
from numpy.typing import NDArray

from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.gram import gram
from p2pfed.aggregation.krum import krum_scores
from p2pfed.types.model import Int16Vector

KINDS = ("none", "sign_flip", "shout", "clones", "quiet", "equal")
CHOOSING = ("krum", "multi_krum", "nnm+krum", "mda", "monna")
LIMIT = 2.0
# byzfl's geometric median starts at zero, where rows near zero hold it; ours starts at the mean. ARC brings
# honest rows to one length, and then all of them are equally far from a row near zero.
LEFT_OUT = frozenset({("geometric_median", "quiet"), ("arc+nnm+trimmed_mean", "quiet")})


def drawn(kind: str, n: int, f: int, d: int, seed: int) -> list[Int16Vector]:
    """Return honest rows around a direction with f liars after them."""
    generator = np.random.default_rng(seed)
    honest = generator.integers(-2000, 2001, d) + generator.integers(-3000, 3001, (n - f, d))
    mean = honest.mean(0)
    lies = {
        "none": generator.integers(-2000, 2001, d) + generator.integers(-3000, 3001, (f, d)),
        "sign_flip": np.tile(-3 * mean, (f, 1)),
        "shout": np.full((f, d), 32767),
        "clones": np.tile(mean + 1.5 * honest.std(0), (f, 1)),
        "quiet": generator.integers(-1, 2, (f, d)),
        "equal": honest[:f],
    }[kind]
    return list(np.vstack([honest, np.rint(lies).clip(-32767, 32767)]).astype(np.int16))


def margin(name: str, rows: list[Int16Vector], f: int) -> float:
    """Return how far the two sides of a choice are from each other, in quanta of distance.

    Of Krum's family: the smallest gap between roots of scores; else between the distances of pairs.
    """
    between = distances(gram(rows))
    if "krum" in name:
        roots = sorted(isqrt(score << 20) for score in krum_scores(between, f))
    else:
        roots = sorted(isqrt(value << 20) for row, values in enumerate(between) for value in values[:row])
    return float(min(upper - lower for lower, upper in pairwise(roots)) / 1024)


def columns_without_ties(rows: list[Int16Vector], f: int) -> NDArray[np.bool_]:
    """Answer for each column whether its n - f values nearest to the median are told apart from the rest."""
    values = np.sort(rows, axis=0).astype(np.int64)
    n = len(rows)
    far = np.sort(np.abs(2 * values - values[(n - 1) // 2] - values[n // 2]), axis=0)
    return far[n - f - 1] != far[n - f]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--byzfl-python", required=True, help="the Python of an environment that has byzfl")
    parser.add_argument("--draws", type=int, default=30, help="of each kind of liars")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--f", type=int, default=5)
    parser.add_argument("--d", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    worst, ties = dict.fromkeys(COMPARED, 0.0), dict.fromkeys(COMPARED, 0)
    broken: list[dict[str, object]] = []
    byzfl = Byzfl(options.byzfl_python, drawn("none", options.n, options.f, options.d, 0), "float32")
    for kind in KINDS:
        for seed in range(options.draws):
            rows = drawn(kind, options.n, options.f, options.d, seed)
            byzfl.load(rows)
            for name in COMPARED:
                ours = aggregate(name, rows, options.f, map, rows[0])
                if (name, kind) in LEFT_OUT:
                    continue
                apart = differences(byzfl, name, options.f, rows, ours)
                counted = columns_without_ties(rows, options.f) if name == "meamed" else ...
                found = float(apart[counted].max())
                if found <= LIMIT:
                    worst[name] = max(worst[name], found)
                elif name in CHOOSING and margin(name, rows, options.f) < 1:
                    ties[name] += 1
                else:
                    broken.append({"rule": name, "kind": kind, "seed": seed, "difference": round(found, 3)})
    byzfl.close()
    rules = [
        {"rule": name, "max_abs_difference": round(worst[name], 4), "ties": ties[name]} for name in COMPARED
    ]
    if options.json:
        print(json.dumps({"draws": len(KINDS) * options.draws, "rules": rules, "broken": broken}))
    else:
        for row in [*rules, *broken]:
            print(", ".join(f"{key} {value}" for key, value in row.items()))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
