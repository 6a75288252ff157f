"""Campaigns of whole demonstrations: accuracy over seeds and attacks, and many runs in a row.

    python benchmarks/demos.py accuracy [--seeds 5] [--json]
    python benchmarks/demos.py repeat [--runs 10] [--json]

Each run is `p2pfed demo` in processes of its own; nothing is measured inside this program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ATTACKS = ("none", "2:sign_flip:scale=4", "2:alie", "2:noise")
TIMEOUT_S = 600


def demo(*arguments: str) -> dict[str, Any]:
    """Run one demonstration in a folder that is thrown away; return its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "p2pfed",
            "demo",
            "--json",
            "--out",
            str(Path(folder) / "out"),
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def accuracy(seeds: int) -> list[dict[str, Any]]:
    """Return a row an attack: digits, 7 peers, Dirichlet alpha 1, 20 heights, each seed on its own."""
    rows = []
    for attack in ATTACKS:
        verdicts = [demo("--byzantine", attack, "--seed", str(seed)) for seed in range(seeds)]
        finals = [[training["accuracy"] for training in verdict["trainings"]] for verdict in verdicts]
        row = {
            "attack": attack,
            "network": [round(final[0], 4) for final in finals],
            "network_mean": round(statistics.mean(final[0] for final in finals), 4),
            "mean_rule": [round(final[1], 4) for final in finals],
            "mean_rule_mean": round(statistics.mean(final[1] for final in finals), 4),
            "held": sum(verdict["held"] for verdict in verdicts),
            "seconds": [verdict["seconds"] for verdict in verdicts],
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def repeat(runs: int) -> list[dict[str, Any]]:
    """Return a row a shape: how many of `runs` demonstrations held every check."""
    rows = []
    for peers, liars in ((4, "1:sign_flip"), (8, "2:sign_flip")):
        verdicts = [
            demo("--peers", str(peers), "--byzantine", liars, "--seed", str(seed)) for seed in range(runs)
        ]
        failed = [
            f"seed {seed}: {check['name']}: {check['detail']}"
            for seed, verdict in enumerate(verdicts)
            for check in verdict["checks"]
            if not check["is_held"]
        ]
        row = {
            "peers": peers,
            "byzantine": liars,
            "runs": runs,
            "held": sum(verdict["held"] for verdict in verdicts),
            "seconds": [verdict["seconds"] for verdict in verdicts],
            "failed": failed,
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("campaign", choices=["accuracy", "repeat"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = accuracy(given.seeds) if given.campaign == "accuracy" else repeat(given.runs)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    about = {
        "command": " ".join(sys.argv),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
    }
    if given.json:
        print(json.dumps({"about": about, "rows": rows}))
        return
    print(json.dumps(about))
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
