"""The tasks of `rounds.py` with Flower: a SuperLink, a SuperNode a peer, and `flwr run`, as for a deployment.

    PYTHONPATH=. ENV/bin/python benchmarks/rounds_flower.py --peers 4 --task small [--json]

ENV has `flwr==1.42.0` and what p2pfed's learners import (`numpy msgspec coincurve`). TLS is off
(`--insecure`) and nobody evaluates between rounds, both to its advantage; apps need not install anything.
The strategy is `FedAvg` with its defaults but for a minimum of all nodes, so that the first round has all.
There is one model at the end, the server's; `finished` counts the nodes that trained for all rounds. The
server's processes are in the bytes and in `cpu_s_per_peer`, its memory is `server_pss_mb`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import rounds_beside as beside
from measuring import PeakMemory, children_of, enter_own_network, loopback_bytes, machine

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
LINK_PORT, NODE_PORT = 8000, 9094
CONFIG = '[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:8000"\ninsecure = true\n'
POLL_S = 0.1


def programs(args: argparse.Namespace, env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """Start the server and then the nodes."""
    installs = "--disable-runtime-dependency-installation"
    commands = [["flower-superlink", "--insecure", installs, "--port", str(LINK_PORT)]]
    for index in range(args.peers):
        node = ["--superlink", f"127.0.0.1:{LINK_PORT}", "--port", str(NODE_PORT + index)]
        commands.append(["flower-supernode", "--insecure", *node, "--node-config", f"index={index}"])
    log = Path(env["FLWR_HOME"]) / "programs.log"
    with log.open("ab") as file:
        return [
            subprocess.Popen([str(BIN / name), *rest], stdout=file, stderr=file, env=env)
            for name, *rest in commands
        ]


def submit(args: argparse.Namespace, folder: Path, env: dict[str, str], result: Path) -> None:
    """Hand the app to the server; tried until it answers."""
    given = beside.settings(args, folder / "times") | {"result": str(result)}
    config = f"heights={args.heights} peers={args.peers} task='{args.task}' settings='{json.dumps(given)}'"
    command = [str(BIN / "flwr"), "run", str(folder / "app"), "here", "--run-config", config]
    for _ in range(20):
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if told.returncode == 0:
            return
        time.sleep(POLL_S)
    raise SystemExit(
        told.stdout + told.stderr + (Path(env["FLWR_HOME"]) / "programs.log").read_text()[-2000:]
    )


def app_in(folder: Path) -> None:
    """Lay out the app's folder."""
    (folder / "app").mkdir()
    (folder / "times").mkdir()
    (folder / "app" / "pyproject.toml").write_bytes((HERE / "flower_app" / "pyproject.toml").read_bytes())
    (folder / "app" / "rounds_flower_app.py").write_bytes((HERE / "rounds_flower_app.py").read_bytes())


def kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for pid in children_of([process.pid for process in processes]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one network; return its figures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        app_in(folder)
        home, result = folder / "home", folder / "result"
        home.mkdir()
        (home / "config.toml").write_text(CONFIG)
        env = os.environ | {
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",  # It starts its own helpers by name.
            "PYTHONPATH": f"{HERE}:{HERE.parent}",
        }
        sent, started = loopback_bytes(), time.time()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = programs(args, env)
        memory, server = PeakMemory([p.pid for p in processes[1:]]), PeakMemory([processes[0].pid])
        memory.start()
        server.start()
        try:
            submit(args, folder, env, result)
            is_over, end = threading.Event(), time.monotonic() + args.patience
            while not (result.exists() and result.stat().st_size) and time.monotonic() < end:
                is_over.wait(POLL_S)
        finally:
            sent, peak_mb, server_mb = loopback_bytes() - sent, memory.end(), server.end()
            used_s = sum(map(cpu_s, children_of([p.pid for p in processes])))
            kill(processes)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = max(used_s, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
        rows = [json.loads(result.read_text())] if result.exists() else []
        trained = beside.trainings(folder / "times")
        return beside.figures(args, rows, trained, started) | {
            "finished": sum(len(own) == args.heights for own in trained) if rows else 0,
            "mb_sent_per_peer_per_round": round(sent / 1e6 / args.peers / args.heights, 3),
            "cpu_s_per_peer": round(used_s / args.peers, 3),
            "peak_pss_mb_per_peer": round(peak_mb, 1),
            "server_pss_mb": round(server_mb, 1),
        }


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    args = beside.options(__doc__).parse_args()
    is_own_network = enter_own_network()
    for _ in range(args.runs):
        row = {"system": "flower", "peers": args.peers, "task": args.task, "heights": args.heights}
        row |= {"fault": args.fault} | measure(args) | {"is_own_network": is_own_network} | machine()
        print(json.dumps(row) if args.json else "\n".join(f"{k:28} {v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
