"""What following a chain costs a light client: headers, bytes, CPU seconds of verifying, memory.

Run `python benchmarks/light.py [--json] [--only TEXT] [--million HEIGHTS]`. Chains are synthetic: headers and
sets are real and signed by real keys, where they are looked at; there are no bodies. What serving them costs
(making and signing) is measured apart and not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.light import RULES, START_MS, LightChain

from p2pfed.chain.light import Search, tell
from p2pfed.primitives import codec
from p2pfed.types.light import LightBlock
from p2pfed.types.wire import RESPONSE_BYTES_MAX

STEP_MS = 10  # A million heights fit into the trusting period.
LINKED_MAX = 10_000  # Longer chains change so slowly that no header is compared with the one before it.


@dataclass(frozen=True, slots=True)
class Case:
    """A chain and where to go on it: `shift` validators leave and as many come, every `epoch` heights."""

    name: str
    validators: int
    shift: int
    heights: int
    epoch: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What one case cost the client."""

    name: str
    validators: int
    heights: int
    headers: int
    signatures: int
    kilobytes: int
    verify_cpu_s: float
    decode_cpu_s: float
    pending_max: int


def cases(million: int) -> Iterator[Case]:
    for count in (4, 100, 400):
        yield Case("no set change", count, 0, million)
    yield Case("an eighth replaced every 64 heights", 64, 8, million, 64)
    for count in (4, 10, 50, 100, 400):
        yield Case("one validator replaced at each height", count, 1, 1_000)
    for count in (1, 4, 10, 50, 100):
        yield Case("every set shares nobody with the one before", count, count, 1_000)


def run(case: Case) -> Figures:
    """Follow the chain of `case` from genesis to its end."""

    def powers(height: int) -> list[tuple[int, int]]:
        first = case.shift * (height // case.epoch)
        return [((first + place) % 40_000, 1) for place in range(case.validators)]

    chain = LightChain(powers, step_ms=STEP_MS, is_linked=case.heights <= LINKED_MAX)
    search, headers, signatures, size, pending = Search(chain.genesis, case.heights), 0, 0, 0, 0
    verify_s = decode_s = 0.0
    now_ms = START_MS + STEP_MS * (case.heights + 1)
    while (wanted := search.wanted) is not None:
        data = codec.encode(chain.block(wanted))
        began = time.process_time()
        block = codec.decode(data, LightBlock, RESPONSE_BYTES_MAX)
        decoded = time.process_time()
        search, verified = tell(search, block, RULES, now_ms)
        verify_s += time.process_time() - decoded
        decode_s += decoded - began
        headers += 1
        size += len(data)
        signatures += sum(len(found.commit.signatures) for found in verified)
        pending = max(pending, len(search.pending))
    assert search.trusted.height == case.heights
    assert search.trusted.value_id == chain.header(case.heights).value_id
    return Figures(
        case.name, case.validators, case.heights, headers, signatures, size // 1000,
        round(verify_s, 3), round(decode_s, 3), pending,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="only cases whose name has this text")
    parser.add_argument("--million", type=int, default=1_000_000, help="heights of the case without changes")
    arguments = parser.parse_args()
    show: Callable[[Figures], str] = (lambda f: json.dumps(asdict(f))) if arguments.json else _line
    if not arguments.json:
        print(f"load {os.getloadavg()[0]:.1f}")
    for case in cases(arguments.million):
        if arguments.only in case.name:
            print(show(run(case)), flush=True)


def _line(figures: Figures) -> str:
    return (
        f"{figures.name}, {figures.validators} validators, {figures.heights} heights: "
        f"{figures.headers} headers, {figures.signatures} signatures, {figures.kilobytes} kB, "
        f"verify {figures.verify_cpu_s} s, decode {figures.decode_cpu_s} s of CPU, "
        f"{figures.pending_max} pending"
    )


if __name__ == "__main__":
    main()
