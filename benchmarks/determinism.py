"""One set of updates under several BLAS kernels, threads, SIMD levels and orders: floats beside our integers.

`python benchmarks/determinism.py` starts a process for each environment, since BLAS chooses its kernel once,
and prints how many different results each computation has. `--json` prints the same as data. Exit code 1
where our integers have more than one result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from itertools import product

import numpy as np
from blas_kernel import kernel_in_use
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from p2pfed.aggregation.catalogue import named_rule, rule_names
from p2pfed.aggregation.engine import merge
from p2pfed.aggregation.gram import self_test
from p2pfed.aggregation.past import Past
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.model import ArraySpec, Manifest, ModelState

KERNELS = ("", "Prescott", "Nehalem", "Sandybridge", "Haswell")  # "": what the machine would choose.
THREADS = ("1", "2")
SIMD_OFF = ("", "AVX2,FMA3,AVX512F,AVX512_SKX,X86_V3,X86_V4,AVX512_ICL,AVX512_SPR")
ORDERS = 5
UPDATES, FAULTY_MAX = 16, 5
MANIFEST = Manifest(
    (
        ArraySpec("weight", (301, 257), "float32", "trained", False),
        ArraySpec("bias", (257,), "float32", "trained", False),
    )
)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def simd_in_use() -> str:
    """Return the instruction sets that numpy's loops dispatch to beyond the baseline."""
    return "+".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name)) or "baseline"


def child() -> dict[str, object]:
    """Compute everything in this process; return for each computation its digest in each arrival order."""
    # Integers from a hash, so that the input itself can't depend on the environment.
    raw = hashlib.shake_256(b"determinism").digest(2 * UPDATES * MANIFEST.size)
    rows = np.frombuffer(raw, "<i2").astype(np.int16).reshape(UPDATES, -1) >> 3
    floats = rows.astype(np.float32) * np.float32(1e-3)
    model = ModelState(np.zeros(MANIFEST.size, np.int32), np.full(2, 12, np.int8), np.full(2, 24, np.int8))
    past = Past(rows[0].astype(np.int32), model.model_exponents)
    results: dict[str, list[str]] = {}
    for turn in range(ORDERS):
        arrival = [(index * (2 * turn + 1) + turn) % UPDATES for index in range(UPDATES)]
        arrived = floats[arrival]
        gram = arrived @ arrived.T
        places = np.argsort(
            arrival
        )  # A twin that sorts by key afterwards still has the bits of its products.
        results.setdefault("float32 Gram matrix", []).append(digest(gram[np.ix_(places, places)]))
        results.setdefault("float32 weighted mean", []).append(
            digest((np.array(arrival, np.float32) + 1) / np.float32(136) @ arrived)
        )
        total = np.zeros(MANIFEST.size, np.float32)
        for row in arrived:
            total += row
        results.setdefault("float32 sum as updates arrive", []).append(digest(total))
        sorted_rows = [
            row for _, row in sorted(zip(arrival, rows[arrival], strict=True), key=lambda pair: pair[0])
        ]
        for rule in (*rule_names(), "arc+bucketing+nnm+krum"):
            faulty_max = FAULTY_MAX if named_rule(rule).bound(UPDATES, FAULTY_MAX) else 3
            merged = merge(
                MANIFEST, model, sorted_rows, range(1, UPDATES + 1), faulty_max=faulty_max,
                rule=rule, later_rules=("mean",), update_bits=12, examples_cap=4, past=past,
            )  # fmt: skip
            root = chunk_root(merged.aggregate.astype("<i4").tobytes() + merged.model.weights_bytes())
            results.setdefault(f"integers: {rule}", []).append(root.hex()[:16])
    return {"kernel": kernel_in_use(), "simd": simd_in_use(), "self_test": self_test(), "results": results}


def run(kernel: str, threads: str, simd_off: str) -> dict[str, object]:
    """Return the child's answer in one environment."""
    environment = dict(os.environ, OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    for name, value in (("OPENBLAS_CORETYPE", kernel), ("NPY_DISABLE_CPU_FEATURES", simd_off)):
        environment.pop(name, None)
        if value:
            environment[name] = value
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--child"],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    name = f"{kernel or 'own kernel'}, {threads} threads, {'baseline SIMD' if simd_off else 'all SIMD'}"
    if done.returncode:
        return {
            "environment": name,
            "failed": done.stderr.strip().splitlines()[-1:] or [str(done.returncode)],
        }
    return {"environment": name, **json.loads(done.stdout)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child()))
        return 0
    answers = [run(*environment) for environment in product(KERNELS, THREADS, SIMD_OFF)]
    good = [answer for answer in answers if "results" in answer]
    found: dict[str, set[str]] = {}
    in_order: dict[str, set[str]] = {}
    for answer in good:
        for name, digests in answer["results"].items():  # type: ignore[attr-defined]
            found.setdefault(name, set()).update(digests)
            in_order.setdefault(name, set()).add(digests[0])
    counts = {name: len(digests) for name, digests in found.items()}
    ours = all(count == 1 for name, count in counts.items() if name.startswith("integers"))
    if options.json:
        print(
            json.dumps(
                {
                    "environments": answers,
                    "distinct": counts,
                    "distinct_in_one_order": {k: len(v) for k, v in in_order.items()},
                    "integers_agree": ours and bool(good),
                }
            )
        )
    else:
        for answer in answers:
            if "failed" in answer:
                print(f"not run: {answer['environment']}: {answer['failed']}")
        print(f"{len(good)} processes of {' or '.join(THREADS)} threads, {ORDERS} arrival orders in each")
        print(f"BLAS kernels in use: {', '.join(sorted({str(answer['kernel']) for answer in good}))}")
        print(f"numpy SIMD in use: {', '.join(sorted({str(answer['simd']) for answer in good}))}")
        print(f"self-test passed in {sum(bool(answer['self_test']) for answer in good)} of {len(good)}")
        print(f"{'different results':34}{'in one order':>14}{'in any order':>14}")
        for name, count in counts.items():
            print(f"{name:34}{len(in_order[name]):>14}{count:>14}")
    return 0 if ours and good else 1


if __name__ == "__main__":
    sys.exit(main())
