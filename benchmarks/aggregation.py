"""Milliseconds a rule takes for one whole model step: `python benchmarks/aggregation.py --size 1000000`."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence

import numpy as np

from p2pfed.aggregation.catalogue import rule_names
from p2pfed.aggregation.engine import merge
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest, ModelState


def milliseconds(rule: str, rows: Sequence[Int16Vector], faulty_max: int, repeats: int) -> float:
    """Return the best of `repeats` runs, in ms."""
    size = rows[0].size
    manifest = Manifest((ArraySpec("weights", (size,), "float32", "trained", False),))
    groups = len(manifest.groups)
    model = ModelState(np.zeros(size, np.int32), np.full(groups, 12, np.int8), np.full(groups, 24, np.int8))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        merge(
            manifest, model, rows, [1] * len(rows),
            faulty_max=faulty_max, rule=rule, later_rules=("mean",), update_bits=12, examples_cap=0,
        )  # fmt: skip
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="elements of the model")
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    faulty_max = (options.updates - 1) // 3
    drawn = np.random.default_rng(0).integers(-4000, 4001, (options.updates, options.size))
    rows = list(drawn.astype(np.int16))
    results = {rule: round(milliseconds(rule, rows, faulty_max, options.repeats), 1) for rule in rule_names()}
    setting = {
        "size": options.size, "updates": options.updates, "faulty_max": faulty_max,
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "all")),
    }  # fmt: skip
    if options.json:
        print(json.dumps({"setting": setting, "ms": results}))
        return
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    for rule, value in results.items():
        print(f"{rule:24}{value:10.1f} ms")


if __name__ == "__main__":
    main()
