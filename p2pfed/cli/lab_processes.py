"""A scenario with real processes on this machine: faults by signals and forwarders, evidence by a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from p2pfed.cli.lab_wires import BREAKING, HOLDING, LOOPBACK, Wires
from p2pfed.cli.reading import ask_status, open_chain, stored_ledger, tip_of
from p2pfed.errors import LocalError, UsageError
from p2pfed.ledger.state import decode_ledger
from p2pfed.net.factory import make_transport
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.runtime import testnet as network
from p2pfed.runtime.config import LearnerConfig
from p2pfed.runtime.demo.network import ended_by_signals, free_ports
from p2pfed.runtime.joining import Deaf
from p2pfed.runtime.peer import read_genesis
from p2pfed.sim.earnings import scores_in
from p2pfed.sim.faults import Fault
from p2pfed.sim.handing import double_vote
from p2pfed.sim.scenario import Handed, Scenario, disappointments
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key, new_key
from p2pfed.types.address import Multiaddr
from p2pfed.types.genesis import Params

PLAYED = ("kill", "pause", *BREAKING, *HOLDING)  # By signals and forwarders; the rest needs the simulator.
PORT_FIRST = 18_000
POLL_S = 0.1
READY_S = 60
STALL_S = 120  # Without a new block once the last fault is over; machines are slower than the simulator.
LINGER_S = 3
DIAL_TIMEOUT_MS = 5_000
UPDATE_BITS, EXAMPLES_CAP = 12, 4
_ENVIRONMENT = {"P2PFED_LOG__FORMAT": "json", "P2PFED_LOG__LEVEL": "debug"}  # Rounds are timed by the log.


class Played(Struct, frozen=True):
    """What came of a run.

    heights: Final blocks of each peer, in their order.
    commit_ms: From when a value is built, before it is signed, to the block on disk, the median over honest
        peers and heights; -1: no log has both.
    """

    heights: tuple[int, ...]
    violations: tuple[str, ...]
    seconds: float
    commit_ms: int


def verify_playable(scenario: Scenario, where: str) -> None:
    """Raise UsageError where only the simulator can do what a scenario asks for."""
    for number, fault in enumerate(scenario.faults):
        if fault.kind not in PLAYED:
            raise UsageError(f"{where}: fault {number} is a {fault.kind}, which needs --sim")
    slow = scenario.trainers or scenario.expect.older
    if scenario.crashes or scenario.observers or scenario.late or scenario.skew_ms or slow:
        raise UsageError(
            f"{where}: crashes, observers, late peers, slow trainers and wrong clocks need --sim"
        )
    if scenario.peers > network.PEERS_MAX:
        raise UsageError(f"{where}: {scenario.peers} processes; at most {network.PEERS_MAX}")


def play(scenario: Scenario, folder: Path, tell: Callable[[str], None]) -> Played:
    """Found a network under `folder`, run it, do to it what the scenario says, stop it and judge it.

    Raises:
        Terminated: Ctrl-C, SIGTERM or SIGHUP came; no peer is left running.
    """
    pipes, last = _pipes_of(scenario), scenario.height_first - 1 + scenario.heights
    port = free_ports(scenario.peers + len(pipes), PORT_FIRST)
    plan = network.TestnetPlan(
        peers=scenario.peers,
        stakes=scenario.bonds,
        roles=scenario.member_roles,
        byzantine=scenario.byzantine,
        learner=LearnerConfig(
            app="digits:softmax",
            partition="dirichlet:1.0",
            params={"epochs": "1", "batch": "64", "lr": "0.5"},
        ),
        params=Params(
            scenario.preset,
            ("clip_nnm_trimmed_mean",),
            1,
            UPDATE_BITS,
            EXAMPLES_CAP,
            last,
            update_lag=scenario.update_lag,
            emission=scenario.emission,
            height_first=scenario.height_first,
        ),
        transport="tcp",
        pipes=tuple(network.Pipe(*pair, port + scenario.peers + place) for place, pair in enumerate(pipes)),
        port=port,
        http_port=0,
        linger_s=LINGER_S,
        seed=scenario.seed,
    )
    made = network.create_testnet(folder, plan)
    homes = [folder / peer.name for peer in made.peers]
    honest = homes[: scenario.peers - len(scenario.byzantine)]
    started_s = time.monotonic()
    undone = asyncio.run(_Play(scenario, plan, homes, tell).run())
    seconds = time.monotonic() - started_s
    heights, violations = judge(scenario, homes, honest)
    return Played(heights, (*undone, *violations), round(seconds, 1), _commit_ms(homes, honest))


def _pipes_of(scenario: Scenario) -> tuple[tuple[int, int], ...]:
    """Return who dials whom through a forwarder: as the topology says, or all pairs where pipes break."""
    needs_wires = any(fault.kind in (*BREAKING, *HOLDING) for fault in scenario.faults)
    pairs = tuple((dialler, other) for dialler in range(scenario.peers) for other in range(dialler))
    return scenario.topology or (pairs if needs_wires else ())


class _Play:
    """A run that is under way."""

    def __init__(
        self, scenario: Scenario, plan: network.TestnetPlan, homes: list[Path], tell: Callable[[str], None]
    ) -> None:
        self._scenario = scenario
        self._plan = plan
        self._homes = homes
        self._honest = homes[: scenario.peers - len(scenario.byzantine)]
        self._tell = tell
        self._start_s: float | None = None

    async def run(self) -> list[str]:
        """Start the peers, let happen what is to happen, and stop them; return what could not be done."""
        listeners = [self._plan.port + number for number in range(self._plan.peers)]
        wires = Wires(self._plan.pipes, listeners, self._scenario.faults, self._now_ms)
        with ended_by_signals():
            try:
                async with wires.up():
                    for home in self._homes:
                        network.start_peer(home, environment=_ENVIRONMENT)
                    await self._until_ready()
                    self._start_s = time.monotonic()
                    return await self._until_done(wires)
            finally:
                for home in self._homes:
                    _signal(home, signal.SIGCONT)
                network.stop_peers(self._homes)

    def _now_ms(self) -> int:
        return -1 if self._start_s is None else round((time.monotonic() - self._start_s) * 1_000)

    async def _until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        while not all(_is_ready(home) for home in self._homes):
            if time.monotonic() > deadline_s:
                raise LocalError(f"not every peer answered within {READY_S} s; their folders have the logs")
            await asyncio.sleep(POLL_S)

    async def _until_done(self, wires: Wires) -> list[str]:
        """Return once every honest peer has every height, time is up, or nothing moves any more."""
        scenario = self._scenario
        acts = [(fault.from_ms, number, True) for number, fault in enumerate(scenario.faults)]
        acts += [(fault.until_ms, number, False) for number, fault in enumerate(scenario.faults)]
        acts.sort()
        evidence = list(scenario.evidence)
        moved_s, newest, last = time.monotonic(), 0, self._plan.params.height_final
        while True:
            now_ms = self._now_ms()
            while acts and acts[0][0] <= now_ms:
                _, number, is_start = acts.pop(0)
                self._strike(scenario.faults[number], is_start=is_start)
                self._tell(f"{now_ms} ms: {scenario.faults[number]} {'begins' if is_start else 'ends'}")
            wires.tear()
            for handed in [one for one in evidence if one.from_ms <= now_ms]:
                if await self._hand(handed):
                    evidence.remove(handed)
                    self._tell(f"{now_ms} ms: {handed}")
            heights = [tip_of(Home(home))[0] for home in self._honest]
            if max(heights) > newest or acts:
                newest, moved_s = max(heights), time.monotonic()
            is_up = (scenario.run_ms and now_ms > scenario.run_ms) or time.monotonic() - moved_s > STALL_S
            if min(heights) >= last or is_up:
                return [f"the run ended before {one}" for one in evidence]
            await asyncio.sleep(POLL_S)

    def _strike(self, fault: Fault, *, is_start: bool) -> None:
        """Begin or end what strikes processes; what strikes pipes the forwarders see by the time."""
        if fault.kind not in ("kill", "pause"):
            return
        for home in (self._homes[peer] for peer in fault.peers):
            if fault.kind == "pause":
                _signal(home, signal.SIGSTOP if is_start else signal.SIGCONT)
            elif is_start:
                _signal(home, signal.SIGKILL)
            elif network.wait_until_unlocked(home, READY_S):
                network.start_peer(home, environment=_ENVIRONMENT)

    async def _hand(self, handed: Handed) -> bool:
        """Hand evidence to a peer over a pipe of its network, as a stranger; False: not yet."""
        receiver = Home(self._homes[handed.to])
        height = tip_of(receiver)[0]
        if height == 0:
            return False
        genesis = read_genesis(receiver)
        validators = stored_ledger(receiver, genesis, height).staking.validators_at(height)
        culprit = load_key(Home(self._homes[handed.culprit]).key)
        evidence = validators and double_vote(culprit, validators, genesis.chain_id, height)
        if evidence is None:
            return True  # It votes no more: there is nothing to accuse it of.
        port = self._plan.port + handed.to
        address = Multiaddr(LOOPBACK, port, load_key(receiver.key).public)
        transport = make_transport(
            genesis.transport, key=new_key(), chain_id=genesis.chain_id, handler=Deaf()
        )
        try:
            peer = await transport.dial(address, timeout_ms=DIAL_TIMEOUT_MS)
            return transport.send(peer, codec.encode(evidence))
        except TransportError:
            return False  # It is down.
        finally:
            await transport.close()


def _is_ready(home: Path) -> bool:
    """Answer whether a peer answers; one whose network has ended already was ready too."""
    return ask_status(Home(home)) is not None or tip_of(Home(home))[0] > 0


def _signal(home: Path, number: signal.Signals) -> None:
    pid = network.running_pid(home)
    if pid is not None:
        os.kill(pid, number)


def judge(
    scenario: Scenario, homes: list[Path], honest: list[Path]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Read the stopped homes: one chain on all honest disks, and what the scenario expects of it."""
    before = scenario.height_first - 1
    heights = tuple(max(0, tip_of(Home(home))[0] - before) for home in homes)
    final: dict[int, bytes] = {}
    violations: list[str] = []
    convicted: set[bytes] = set()
    scores: Counter[bytes] = Counter()
    keys: list[bytes] = []
    best = max(honest, key=lambda home: tip_of(Home(home))[0])
    for home in honest:
        height = tip_of(Home(home))[0]
        if height == 0:
            continue
        with open_chain(Home(home)) as chain:
            for at in range(scenario.height_first, height + 1):
                block = chain.block(at)
                if block is not None and final.setdefault(at, block.header.value_id) != block.header.value_id:
                    violations.append(f"{home.name}: a fork at height {at}")
                if block is not None and home == best:
                    scores += scores_in(block)
            stored = chain.ledger(height) if home == best else None
        if stored is not None:
            ledger = decode_ledger(stored)
            convicted = {entry.key for entry in ledger.slashing.convictions}
            keys = [account.key for account in ledger.accounts.accounts]
    numbers = {keys.index(key) for key in convicted}
    innocent = sorted(numbers & set(range(len(honest))) - set(scenario.faulty))
    violations += [f"peer {number} is honest and was convicted" for number in innocent]
    earned = {keys.index(key): score for key, score in scores.items()}
    if not violations:
        violations += disappointments(scenario, max(heights[: len(honest)]), numbers, earned)
    return heights, tuple(violations)


def _commit_ms(homes: list[Path], honest: list[Path]) -> int:
    """Return the median time from a proposed value to each honest peer's block, -1 where no log has both."""
    built: dict[str, int] = {}
    for home in homes:
        for entry in _entries(home, "proposal.built"):
            built.setdefault(entry["value_id"], entry["time_ms"])
    times = [
        entry["time_ms"] - built[entry["value_id"]]
        for home in honest
        for entry in _entries(home, "block.committed")
        if not entry["caught_up"] and entry["value_id"] in built
    ]
    return round(median(times)) if times else -1


def _entries(home: Path, event: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of one kind in a peer's log."""
    mark = f'"event": "{event}"'
    for line in (Home(home).logs / "output.log").read_text(encoding="utf-8").splitlines():
        if mark not in line:
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # The line at which a peer was killed.
        if entry.get("event") == event:
            yield entry
