"""Flip one bit at a time of everything that a real peer has stored, and count what the verifiers miss.

`python benchmarks/flips.py [--home HOME] [--places 1000] [--bytes 1000] [--seed 0] [--json]`

Without --home, a network of four peers with a liar runs first, and the disk of its first peer is used.
`--places` are values, changed through SQL or in their files; `--bytes` are places of the database file.
Every flip stands alone and is undone. Both verifiers run in this process; `verify` exits 5 where they find
anything.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.flips import Verifiers, flipped, flipped_file, forget_log, seeded_places, stored_values

from p2pfed.storage.home import Home

HEIGHTS = 12  # Some payloads and models are pruned by then.


def real_home(folder: Path) -> Home:
    """Run a network of four peers, one of them a liar, and return the home of the first."""
    command = [sys.executable, "-m", "p2pfed", "demo", "--peers", "4", "--byzantine", "1:double_vote",
               "--heights", str(HEIGHTS), "--out", str(folder / "net")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the network failed: {done.stdout}{done.stderr[-2000:]}")
    return Home(folder / "net" / "peer0")


def flip_values(home: Home, count: int, dice: random.Random, verifiers: Verifiers) -> dict[str, Any]:
    """Flip `count` stored values, one at a time; return how many of each kind, and those that were missed."""
    flips: Counter[str] = Counter()
    missed: dict[str, list[str]] = {"verify": [], "independent": []}
    for place in seeded_places(home, count, dice):
        flips[place.kind] += 1
        with flipped(home, place, dice):
            for name, problems in zip(missed, verifiers.problems(home), strict=True):
                if not problems:
                    missed[name].append(str(place))
    return {"flips": dict(sorted(flips.items())), "missed": missed}


def flip_file(home: Home, count: int, dice: random.Random, verifiers: Verifiers) -> dict[str, Any]:
    """Flip `count` bits of chain.db; a flip that nobody finds must leave every stored value as it was."""
    size, before = home.chain_db.stat().st_size, stored_values(home)
    forget_log(home)
    found = {"verify": 0, "independent": 0}
    harmless, missed = 0, []
    for _ in range(count):
        at, bit = dice.randrange(size), dice.randrange(8)
        with flipped_file(home, at, bit):
            answers = verifiers.problems(home)
            for name, problems in zip(found, answers, strict=True):
                found[name] += bool(problems)
            if not all(answers):
                is_harmless = stored_values(home) == before
                harmless += is_harmless
                missed += [] if is_harmless else [at]
    return {"flips": count, "bytes": size, "found": found, "harmless": harmless, "missed": missed}


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the flipped bits that `p2pfed verify` misses.")
    parser.add_argument("--home", type=Path, help="A stopped peer's home; it is copied.")
    parser.add_argument("--places", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    dice, verifiers, started = random.Random(options.seed), Verifiers(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        source = Home(options.home) if options.home else real_home(Path(name))
        home = Home(Path(name) / "home")
        shutil.copytree(source.path, home.path)
        if any(problems := verifiers.problems(home)):
            raise SystemExit(f"the home is damaged before anything was flipped: {problems}")
        values = flip_values(home, options.places, dice, verifiers)
        file = flip_file(home, options.bytes, dice, verifiers)
        if any(problems := verifiers.problems(home)):
            raise SystemExit(f"the home was not put back: {problems}")
    result = {
        "schema": "p2pfed.flips/1",
        "seed": options.seed,
        "values": values,
        "file": file,
        "seconds": round(time.monotonic() - started, 1),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(json.dumps(result, indent=2))
    if values["missed"]["verify"] or values["missed"]["independent"] or file["missed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
