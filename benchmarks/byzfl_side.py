"""The other side of benchmarks/aggregation.py: answers for byzfl, in an environment of its own.

Reads one JSON request a line and answers with one: the rows are in a .npy file of int16, byzfl gets them as
floats.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from blas_kernel import kernel_in_use

try:
    import torchvision  # noqa: F401
except RuntimeError:  # Built for CUDA beside a torch that is not. byzfl imports it; its rules don't use it.
    for operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{operator}", "(Tensor boxes, Tensor scores, float most) -> Tensor"
        )
import byzfl as rules

Vectors = Any


def rule(name: str, f: int, given: dict[str, Any]) -> Callable[[Vectors], Vectors]:
    """Return byzfl's function for one of our names; `given` has what our rule found and byzfl must be
    told.
    """
    *before, last = name.split("+")
    pre_rules = {"clip": rules.ARC, "arc": rules.ARC, "nnm": rules.NNM}
    steps: list[Callable[[Vectors], Vectors]] = [pre_rules[pre](f) for pre in before]
    plain = {
        "mean": rules.Average, "median": rules.Median,
        "geometric_median": lambda: rules.GeometricMedian(T=given.get("steps", 3)),
        "centred_clipping": lambda: rules.CenteredClipping(tau=float(given.get("radius", 100.0))),
    }  # fmt: skip
    counted = {
        "trimmed_mean": rules.TrMean, "krum": rules.Krum, "multi_krum": rules.MultiKrum, "mda": rules.MDA,
        "meamed": rules.Meamed, "caf": rules.CAF, "smea": rules.SMEA,
        "monna": lambda liars: rules.MoNNA(liars, given.get("pivot", 0)),
    }  # fmt: skip
    steps.append(plain[last]() if last in plain else counted[last](f))

    def run(vectors: Vectors) -> Vectors:
        for step in steps:
            vectors = step(vectors)
        return vectors

    return run


def main() -> None:
    rows: Vectors = None
    for line in sys.stdin:
        request = json.loads(line)
        if "rows" in request:
            rows = np.load(request["rows"]).astype(request["dtype"])
            print(json.dumps({"numpy": np.__version__, "kernel": kernel_in_use()}), flush=True)
            continue
        run = rule(request["rule"], request["f"], request["given"])
        vectors = rows.copy() if "+" in request["rule"] else rows  # ARC overwrites what it gets.
        start, start_cpu = time.perf_counter(), time.process_time()
        result = run(vectors)
        took, took_cpu = time.perf_counter() - start, time.process_time() - start_cpu
        if request["save"]:
            np.save(request["save"], result)
        print(json.dumps({"ms": 1000 * took, "cpu_ms": 1000 * took_cpu}), flush=True)


if __name__ == "__main__":
    main()
