"""What every benchmark of networks measures in the same way: the machine, memory, bytes on the wire.

It imports nothing but the standard library, so that the sides of other systems can use it in environments of
their own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OWN_NETWORK = "P2PFED_BENCHMARK_NETWORK"  # Set in a process that has a network namespace of its own.
SAMPLE_S = 0.25


def machine() -> dict[str, Any]:
    """Return what a figure must be read with: command, commit, processor, cores, load."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def enter_own_network() -> bool:
    """Start this program again where the loopback carries nobody else's bytes: in a network namespace.

    Returns:
        Whether the loopback is ours alone; False where the system forbids it, and the program goes on.
    """
    if os.environ.get(OWN_NETWORK):
        return True
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], check=False).returncode:
        return False
    inner = 'ip link set lo up 2>/dev/null || ifconfig lo up; exec "$0" "$@"'
    command = [unshare, "-n", "sh", "-c", inner, sys.executable, *sys.argv]
    return os.execve(unshare, command, os.environ | {OWN_NETWORK: "1"})


def loopback_bytes() -> int:
    """Return how many bytes the loopback of this network namespace has carried."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[8])
    return 0


def children_of(pids: Iterable[int]) -> set[int]:
    """Return `pids` and all that descend from them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = set(pids), list(pids)
    while todo:
        new = [child for child in parents.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo.extend(new)
    return found


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 where there is none."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pss_mb(pids: Iterable[int]) -> float:
    """Return the memory of these processes, shared pages divided among those that share them (10^6 bytes)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


class PeakMemory(threading.Thread):
    """Samples the memory of some processes and their descendants; `peak_mb` a root at the end."""

    def __init__(self, roots: Iterable[int]) -> None:
        super().__init__(daemon=True)
        self.peaks = dict.fromkeys(roots, 0.0)
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            for root in self.peaks:
                self.peaks[root] = max(self.peaks[root], pss_mb(children_of([root])))

    def end(self) -> float:
        """Return the largest peak of a root (10^6 bytes)."""
        self._is_over.set()
        self.join()
        return max(self.peaks.values(), default=0.0)
