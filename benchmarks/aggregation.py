"""How long each rule takes to merge n updates of d elements, beside byzfl in the same run.

    python benchmarks/aggregation.py --n 16 --f 5 --d 1000000 --byzfl-python PATH --json

byzfl 0.0.11 is asked in an environment of its own, one pair after the other, ours then theirs; figures are
medians. `ours_ms` goes from int16 rows to the int32 aggregate in model units; `late_ms` is what is left of it
where products were measured as the updates came; `merge_ms` is the whole height: it steps the weights and
adapts the exponents as well. `cpu` figures count the CPU time of all threads, which other programs disturb
less, and `best` figures are the least wall time of each side. `gb_per_s` counts the int16 input once.
`--threads` are our own on our side, whose BLAS has one unless OPENBLAS_NUM_THREADS says another number, and
those of BLAS on byzfl's, which has no others. byzfl's geometric median makes three steps by default;
--steps 8 gives it as many as ours has. Without --byzfl-python only our side runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

# Peers run so: threads of our own over blocks; BLAS threads inside them only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from blas_kernel import kernel_in_use
from numpy.typing import NDArray

from p2pfed.aggregation.catalogue import named_rule, rule_names
from p2pfed.aggregation.division import RuleSum, Sums, fits_int32, model_units
from p2pfed.aggregation.engine import merge
from p2pfed.aggregation.fixed import distances
from p2pfed.aggregation.gram import gram, has_compiled
from p2pfed.aggregation.group import ParallelMap, decide, pieces, plan_for, run
from p2pfed.aggregation.growing import GrowingGram, Tables
from p2pfed.aggregation.mean import example_weights
from p2pfed.aggregation.monna import pivot_row
from p2pfed.aggregation.past import Past
from p2pfed.types.model import ArraySpec, Int16Vector, Int32Vector, Manifest, ModelState
from p2pfed.types.params import GROUP_ELEMENTS_MAX

E, M = 12, 24
RULES = (*rule_names(), "nnm+trimmed_mean", "nnm+krum", "arc+nnm+trimmed_mean", "bucketing+median")
# byzfl has no such rule, or one that is random or that we define otherwise.
OURS_ALONE = ("bulyan", "cosine_to_previous", "foolsgold", "sign_majority", "bucketing+median")
AS_BYZFL = {"clip_nnm_trimmed_mean": "clip+nnm+trimmed_mean"}
# The same in exact arithmetic; the others differ in what they compute (see docs/qa/aggregation.md).
COMPARED = (
    "mean", "median", "trimmed_mean", "meamed", "krum", "multi_krum", "mda", "monna", "geometric_median",
    "nnm+trimmed_mean", "nnm+krum", "arc+nnm+trimmed_mean",
)  # fmt: skip


class Byzfl:
    """byzfl in a process of its own."""

    def __init__(self, python: str, rows: Sequence[Int16Vector], dtype: str, threads: int = 1) -> None:
        self._folder = tempfile.TemporaryDirectory()
        here = Path(__file__).with_name("byzfl_side.py")
        self._process = subprocess.Popen(
            [python, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
        )
        self._dtype = dtype
        self.machine = self.load(rows)

    def load(self, rows: Sequence[Int16Vector]) -> dict[str, Any]:
        """Hand over rows in place of those before; return the numpy and the kernel that it runs on."""
        path = Path(self._folder.name) / "rows.npy"
        np.save(path, np.array(rows))
        return self._ask({"rows": str(path), "dtype": self._dtype})

    def times(self, rule: str, f: int, steps: int) -> tuple[float, float]:
        """Return the time and the CPU time of one call, in ms."""
        answer = self._ask({"rule": rule, "f": f, "given": {"steps": steps}, "save": ""})
        return float(answer["ms"]), float(answer["cpu_ms"])

    def result(self, rule: str, f: int, given: dict[str, Any]) -> np.ndarray:  # type: ignore[type-arg]
        path = str(Path(self._folder.name) / "result.npy")
        self._ask({"rule": rule, "f": f, "given": given, "save": path})
        return np.load(path).astype(np.float64)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def aggregate(
    name: str, rows: Sequence[Int16Vector], f: int, parallel: ParallelMap, past: Int16Vector,
    products: Tables | None = None,
) -> Int32Vector:  # fmt: skip
    """Return the aggregate in units 2^-24 of updates in units 2^-12, each group of columns by itself.

    With `products`, one table a group, the rows are not measured again.
    """
    named, size = named_rule(name), rows[0].size
    weights = example_weights([1] * len(rows), 0)
    result = np.empty(size, np.int32)
    for begin in range(0, size, GROUP_ELEMENTS_MAX):
        end = min(size, begin + GROUP_ELEMENTS_MAX)
        part = [row[begin:end] for row in rows]
        if products is None:
            before = past[begin:end] if named.rule.uses_past else None
            decided = plan_for(named, part, weights, f, parallel=parallel, past=before)
        else:
            table = products[begin // GROUP_ELEMENTS_MAX].tolist()
            decided = decide(
                (named,), table, None, count=len(rows), size=end - begin, weights=weights, faulty_max=f,
                seed=bytes(32),
            )  # fmt: skip

        def merge_piece(piece: tuple[int, int]) -> None:
            def divide(start: int, sums: Sums) -> None:
                out = result[begin + start : begin + start + sums.size]  # noqa: B023
                model_units(RuleSum(sums, decided.denominator()), E, M, out)  # noqa: B023

            run(decided, part, *piece, divide, is_narrow=fits_int32(decided.denominator(), E, M))  # noqa: B023

        list(parallel(merge_piece, pieces(end - begin)))
    return result


def times(function: Callable[[], object]) -> tuple[float, float]:
    """Return the time and the CPU time of one call, in ms; CPU time counts all threads."""
    start, start_cpu = time.perf_counter(), time.process_time()
    function()
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - start_cpu)


def milliseconds(function: Callable[[], object]) -> float:
    return times(function)[0]


def medians(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return median(took for took, _ in measured), median(cpu for _, cpu in measured)


def bandwidth(pool: ThreadPoolExecutor, threads: int) -> float:
    """Return how many GB/s `threads` threads read from memory, the best of three."""
    data = np.ones(1 << 25)
    parts = np.array_split(data, threads)
    best = min(milliseconds(lambda: list(pool.map(lambda part: part.dot(part), parts))) for _ in range(3))
    return data.nbytes / best / 1e6


def liars_for(name: str, n: int, f: int) -> int:
    """Return f, or the most liars that the rule stands; -1 where it stands none."""
    return max((liars for liars in range(f + 1) if named_rule(name).bound(n, liars)), default=-1)


def differences(
    byzfl: Byzfl, name: str, f: int, rows: Sequence[Int16Vector], ours: Int32Vector
) -> NDArray[np.float64]:
    """Return how far the two aggregates are apart in each coordinate, in update units."""
    given: dict[str, Any] = {"steps": 8}
    if name == "monna":
        given["pivot"] = pivot_row(distances(gram(rows)), len(rows) - f)
    theirs = byzfl.result(name, f, given)
    return np.abs(ours / 2.0 ** (M - E) - theirs)


def peak_megabytes(function: Callable[[], object]) -> float:
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure(
    name: str, rows: Sequence[Int16Vector], f: int, options: argparse.Namespace, pool: ThreadPoolExecutor,
    byzfl: Byzfl | None, reads: float, past: Int16Vector,
) -> dict[str, Any]:  # fmt: skip
    """Return one row of the table."""
    n, size = len(rows), rows[0].size
    liars = liars_for(name, n, f)
    row: dict[str, Any] = {"rule": name, "f": liars}
    if liars < 0:
        return {**row, "refused": named_rule(name).needs}
    parallel: ParallelMap = pool.map if options.threads > 1 else map
    theirs_name = AS_BYZFL.get(name, name)
    asks = byzfl is not None and name not in OURS_ALONE
    ours, theirs = [], []
    result = aggregate(name, rows, liars, parallel, past)  # Warms up: networks, self-test.
    for _ in range(options.repeats):
        ours.append(times(lambda: aggregate(name, rows, liars, parallel, past)))
        if byzfl is not None and asks:
            theirs.append(byzfl.times(theirs_name, liars, options.steps))
    took, cpu = medians(ours)
    best = min(ours)[0]
    row |= {"ours_ms": round(took, 1), "ours_cpu_ms": round(cpu, 1), "ours_best_ms": round(best, 1)}
    rate = n * size * 2 / took / 1e6
    row |= {"gb_per_s": round(rate, 2), "share_of_bandwidth": round(rate / reads, 3)}
    if byzfl is not None and asks:
        their_took, their_cpu = medians(theirs)
        row |= {"byzfl_numpy_ms": round(their_took, 1), "byzfl_cpu_ms": round(their_cpu, 1)}
        row["byzfl_best_ms"] = round(min(theirs)[0], 1)
        row |= {"ratio": round(their_took / took, 2), "cpu_ratio": round(their_cpu / cpu, 2)}
        row["best_ratio"] = round(min(theirs)[0] / best, 2)
        row["max_abs_difference"] = None
        if name in COMPARED:
            row["max_abs_difference"] = round(float(differences(byzfl, name, liars, rows, result).max()), 4)
    if options.late and named_rule(name).uses_products and not named_rule(name).rule.uses_past:
        tables = arrived(rows, parallel)
        late = [milliseconds(lambda: aggregate(name, rows, liars, parallel, past, tables)) for _ in ours]
        assert np.array_equal(aggregate(name, rows, liars, parallel, past, tables), result)
        row["late_ms"] = round(median(late), 1)
    if options.merge:
        row["merge_ms"] = round(median(merge_times(name, rows, liars, parallel, past, options.repeats)), 1)
    if options.memory:
        row["peak_mb"] = round(peak_megabytes(lambda: aggregate(name, rows, liars, parallel, past)), 1)
        row["input_mb"] = round(n * size * 2 / 1e6, 1)
    return row


def arrived(rows: Sequence[Int16Vector], parallel: ParallelMap) -> Tables:
    """Return the products of rows that came one after the other."""
    growing = GrowingGram(one_array(rows[0].size).groups)
    for index, row in enumerate(rows):
        growing.add({bytes([index]): row}, parallel)
    return growing.of([bytes([index]) for index in range(len(rows))])


def one_array(size: int) -> Manifest:
    return Manifest((ArraySpec("weights", (size,), "float32", "trained", False),))


def merge_times(
    name: str, rows: Sequence[Int16Vector], f: int, parallel: ParallelMap, past: Int16Vector, repeats: int
) -> list[float]:
    """Return the times of whole heights."""
    size = rows[0].size
    manifest = one_array(size)
    groups = len(manifest.groups)
    model = ModelState(np.zeros(size, np.int32), np.full(groups, E, np.int8), np.full(groups, M, np.int8))
    before = Past(past.astype(np.int32) << (M - E), model.model_exponents)
    return [
        milliseconds(
            lambda: merge(
                manifest, model, rows, [1] * len(rows), faulty_max=f, rule=name, later_rules=("mean",),
                update_bits=12, examples_cap=0, past=before, parallel=parallel,
            )
        )
        for _ in range(repeats)
    ]  # fmt: skip


def drawn_rows(n: int, d: int) -> list[Int16Vector]:
    """Return updates around a common direction, as honest peers send them; int16, shape `(d,)`."""
    generator = np.random.default_rng(0)
    common = generator.integers(-2000, 2001, d, dtype=np.int16)
    return [common + generator.integers(-3000, 3001, d, dtype=np.int16) for _ in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=16, help="updates")
    parser.add_argument("--f", type=int, default=5, help="of them may lie; less for a rule that stands less")
    parser.add_argument("--d", type=int, default=1_000_000, help="elements of the model")
    parser.add_argument("--rules", default=",".join(RULES), help="which, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--byzfl-python", default="", help="the Python of an environment that has byzfl")
    parser.add_argument("--byzfl-dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--steps", type=int, default=3, help="of byzfl's geometric median")
    parser.add_argument("--late", action="store_true", help="time with products measured before as well")
    parser.add_argument("--merge", action="store_true", help="time whole heights as well")
    parser.add_argument("--memory", action="store_true", help="trace memory as well, once more and slower")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    rows = drawn_rows(options.n, options.d)
    past = rows[0] // 2
    byzfl = None
    if options.byzfl_python:
        byzfl = Byzfl(options.byzfl_python, rows, options.byzfl_dtype, options.threads)
    results = []
    with ThreadPoolExecutor(options.threads) as pool:
        reads = bandwidth(pool, options.threads)
        for name in options.rules.split(","):
            results.append(measure(name, rows, options.f, options, pool, byzfl, reads, past))
            if not options.json:
                print(", ".join(f"{key} {value}" for key, value in results[-1].items()), flush=True)
    setting = {
        "n": options.n, "f": options.f, "d": options.d, "threads": options.threads, "repeats":
        options.repeats, "byzfl_dtype": options.byzfl_dtype, "bandwidth_gb_per_s": round(reads, 1), "numpy":
        np.__version__, "kernel": kernel_in_use(), "blas_threads": os.environ["OPENBLAS_NUM_THREADS"],
        "steps": options.steps, "load": os.getloadavg()[0], "compiled_kernel": has_compiled(),
    }  # fmt: skip
    if byzfl is not None:
        setting["byzfl_machine"] = byzfl.machine
        byzfl.close()
    if options.json:
        print(json.dumps({"setting": setting, "rules": results}))
    else:
        print(", ".join(f"{key} {value}" for key, value in setting.items()))


if __name__ == "__main__":
    main()
