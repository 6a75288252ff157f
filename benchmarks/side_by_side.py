"""p2pfed, hivemind, p2pfl and Flower by turns on the same tasks on this machine, as one table.

    python benchmarks/side_by_side.py --envs DIR [--cases 4:small:8,8:small:8,4:big:5]
        [--faults none,nan,kill] [--systems p2pfed,hivemind,p2pfl,flower] [--turns 1] [--json]

DIR has the environments `hivemind`, `p2pfl` and `flower`; the scripts `rounds_*.py` say what is in each and
how each system is set. A case is peers, task and heights. A row that says nothing is a run that failed: its
reason goes to the standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLUMNS = {
    "system": "system",
    "case": "peers, task",
    "fault": "fault",
    "round_median_s": "round median s",
    "round_max_s": "slowest",
    "train_median_s": "of it training",
    "mb_sent_per_peer_per_round": "MB a peer a round",
    "cpu_s_per_peer": "CPU s a peer",
    "peak_pss_mb_per_peer": "PSS MB a peer",
    "first_training_s": "first training after s",
    "done": "finished",
    "distinct_model_digests": "models at the end",
    "accuracy": "accuracy",
}


def command_of(system: str, args: argparse.Namespace) -> list[str]:
    if system == "p2pfed":
        return [sys.executable, str(HERE / "rounds.py"), "--preset", args.preset]
    interpreter = str(args.envs / system / "bin" / "python")
    return [interpreter, str(HERE / f"rounds_{system}.py"), "--patience", str(args.patience)]


def row_of(system: str, case: str, fault: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one system once; return its row."""
    peers, task, heights = case.split(":")
    given = ["--peers", peers, "--task", task, "--heights", heights, "--data", str(args.data.absolute())]
    given += [] if fault == "none" else ["--fault", fault]
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [*command_of(system, args), *given, "--json"], capture_output=True, text=True, env=env, check=False
    )
    row: dict[str, Any] = {
        "system": system,
        "case": f"{peers} {task}",
        "fault": fault,
        "rounds": int(heights),
    }
    if done.returncode:
        print(f"{system} {case} {fault}: {done.stderr[-500:]}", file=sys.stderr)
        return row
    row = json.loads(done.stdout.splitlines()[-1]) | row
    return row | {"done": f"{row['finished']} of {peers}"}


def rows_of(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for _ in range(args.turns):
        for case in args.cases.split(","):
            for fault in args.faults.split(","):
                for system in args.systems.split(","):
                    yield row_of(system, case, fault, args)


def line_of(row: dict[str, Any]) -> str:
    return "| " + " | ".join("-" if row.get(key) is None else str(row[key]) for key in COLUMNS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", type=Path, required=True)
    parser.add_argument("--cases", default="4:small:8,8:small:8,4:big:5")
    parser.add_argument("--faults", default="none")
    parser.add_argument("--systems", default="p2pfed,hivemind,p2pfl,flower")
    parser.add_argument("--preset", default="local", help="of p2pfed; `lan` for big")
    parser.add_argument("--patience", type=float, default=150, help="seconds for all rounds of a run")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "mnist5k.npz")
    parser.add_argument("--json", action="store_true", help="one line of JSON a run")
    args = parser.parse_args()
    if not args.json:
        print("| " + " | ".join(COLUMNS.values()) + " |")
        print("|---" * len(COLUMNS) + "|")
    for row in rows_of(args):
        print(json.dumps(row) if args.json else line_of(row), flush=True)


if __name__ == "__main__":
    main()
