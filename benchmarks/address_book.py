"""Fifty attackers fill the address book of one peer: how many honest links of its own has it after a minute?

    python benchmarks/address_book.py [--runs 100]

The attackers are members of the network, or strangers. They hold pipes to the peer, five of them tell it
fifty new records twice a second, each of eight addresses that swallow every dial. Ten peers are honest; one
is its first contact, and after a restart none is. The peer's own code runs in virtual time
(`tests/support/eclipse.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from measuring import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.eclipse import honest_links

LINKS_MIN = 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    is_kept = True
    for are_members in (True, False):
        found = [
            honest_links(seed, are_members=are_members, seconds=args.seconds) for seed in range(args.runs)
        ]
        for name, links in zip(("first", "restarted"), zip(*found, strict=True), strict=True):
            kept = sum(count >= LINKS_MIN for count in links)
            is_kept &= kept == args.runs
            row = {"attackers_are_members": are_members, "start": name, "runs": args.runs, "kept": kept}
            row |= {"links_min": min(links), "links_max": max(links)}
            print(json.dumps({"schema": "p2pfed.address_book/1", **row, **machine()}), flush=True)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
