"""An attacker scales its own update until Krum in floats picks different winners on different machines.

    python benchmarks/crafted_tie.py --tries 30 --json

One machine plays several: a process for each kernel that OpenBLAS can be told to use. In each, a bisection
finds the scale at which the attacker's row stops being Krum's choice in float32. Where two kernels disagree
about that scale, a scale between theirs is a fork: half of the peers choose the attacker's row, the others an
honest one. The same rows, quantised, go through our Krum in all processes; and the attacker bisects against
ours as well, whose last scale must be the same to the last bit everywhere. Exit code 1 where ours differ, or
where the float twin never does and so nothing is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from blas_kernel import kernel_in_use
from numpy.typing import NDArray

from p2pfed.aggregation.catalogue import named_rule
from p2pfed.aggregation.group import plan_for
from p2pfed.aggregation.rule import Weighted

KERNELS = ("", "Haswell", "Sandybridge", "Nehalem", "Prescott")  # "": what the machine would choose.
N, F, D = 16, 5, 20_000
ATTACKER = N - 1
FARTHEST, RESOLUTION = 64, 48  # Scales from 1 to 64 in 48 halvings: to the last bits of float32.
QUANTUM = 2.0**-12


def rows_of(attempt: int, scale: float) -> NDArray[np.float32]:
    """Return honest rows around a direction, and the attacker's: their mean, scaled."""
    generator = np.random.default_rng(attempt)
    honest = generator.normal(0.2, 1, D) + generator.normal(0, 1, (N - 1, D))
    return np.vstack([honest, scale * honest.mean(0)]).astype(np.float32)


def float_winner(rows: NDArray[np.float32]) -> int:
    """Return Krum's choice as a float library finds it: distances from one float32 Gram matrix."""
    products = rows @ rows.T
    squares = products.diagonal()
    distances = squares[:, None] + squares[None, :] - 2 * products
    return int(np.sort(distances, axis=1)[:, : N - F].sum(axis=1).argmin())


def our_winner(rows: NDArray[np.float32]) -> int:
    quantised = np.clip(np.rint(rows / QUANTUM), -32767, 32767).astype(np.int16)
    plan = plan_for(named_rule("krum"), list(quantised), [1] * N, F).plan
    assert isinstance(plan, Weighted)
    return list(plan.coefficients).index(1)


def last_scale(attempt: int, winner: Callable[[NDArray[np.float32]], int]) -> float:
    """Return the largest scale of the bisection at which the attacker is still chosen."""
    chosen, refused = 1.0, float(FARTHEST)
    for _ in range(RESOLUTION):
        middle = (chosen + refused) / 2
        if winner(rows_of(attempt, middle)) == ATTACKER:
            chosen = middle
        else:
            refused = middle
    return chosen


def child(request: dict[str, list[float]]) -> dict[str, object]:
    """Bisect as many attempts as asked for, or name the winners at given scales."""
    if "scales" not in request:
        found = {
            side: [last_scale(int(number), winner) for number in request["attempts"]]
            for side, winner in (("floats", float_winner), ("ours", our_winner))
        }
        return {"kernel": kernel_in_use(), **found}
    cases = [rows_of(number, scale) for number, scale in enumerate(request["scales"])]
    return {"floats": [float_winner(rows) for rows in cases], "ours": [our_winner(rows) for rows in cases]}


def ask(kernel: str, request: dict[str, list[float]]) -> dict[str, list[float]]:
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    environment.pop("OPENBLAS_CORETYPE", None)
    if kernel:
        environment["OPENBLAS_CORETYPE"] = kernel
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(request)],
        env=environment, capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    answer: dict[str, list[float]] = json.loads(done.stdout)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return 0
    attempts = {"attempts": [float(number) for number in range(options.tries)]}
    machines = {kernel: ask(kernel, attempts) for kernel in KERNELS}
    found = np.array([machine["floats"] for machine in machines.values()])
    scales = [float(scale) for scale in (found.min(0) + found.max(0)) / 2]
    winners = [ask(kernel, {"scales": scales}) for kernel in KERNELS]
    forks = {
        side: sum(
            len(set(choices)) > 1 for choices in zip(*(answer[side] for answer in winners), strict=True)
        )
        for side in ("floats", "ours")
    }
    own = np.array([machine["ours"] for machine in machines.values()])
    forks["ours"] += int((own.min(0) != own.max(0)).sum())
    kernels = sorted({str(machine["kernel"]) for machine in machines.values()})
    if options.json:
        print(json.dumps({"tries": options.tries, "kernels": kernels, "forks": forks}))
    else:
        print(f"{options.tries} tries on the kernels {', '.join(kernels)}")
        print(f"Krum in float32 forked {forks['floats']} times, ours {forks['ours']} times")
    return 0 if forks["floats"] and not forks["ours"] else 1


if __name__ == "__main__":
    sys.exit(main())
