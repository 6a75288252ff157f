"""A scenario with real processes on this machine: faults by signals and forwarders, evidence by a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from p2pfed.chain.form import parse_codec
from p2pfed.cli.founding_options import DEFAULT_RULES
from p2pfed.cli.lab_judge import Played, judge
from p2pfed.cli.lab_wires import BREAKING, HOLDING, LOOPBACK, Wires
from p2pfed.cli.reading import ask_status, stored_ledger, tip_of
from p2pfed.errors import LocalError, UsageError
from p2pfed.net.factory import make_transport
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.runtime import testnet as network
from p2pfed.runtime.config import LearnerConfig
from p2pfed.runtime.demo.network import PORT_STEP, ended_by_signals, free_ports
from p2pfed.runtime.joining import Deaf
from p2pfed.runtime.peer import read_genesis
from p2pfed.sim.faults import Fault
from p2pfed.sim.handing import double_vote
from p2pfed.sim.scenario import Handed, Scenario
from p2pfed.storage.home import Home
from p2pfed.storage.key_store import load_key, new_key
from p2pfed.types.address import Multiaddr
from p2pfed.types.genesis import Params

PLAYED = ("kill", "pause", *BREAKING, *HOLDING)  # By signals and forwarders; the rest needs the simulator.
PORT_FIRST, PLACES = 18_000, 120  # Runs that begin at the same time look for ports in different places.
POLL_S = 0.1
READY_S = 60
STALL_S = 120  # Without a new block once the last fault is over; machines are slower than the simulator.
LINGER_S = 3
DIAL_TIMEOUT_MS = 5_000
UPDATE_BITS, EXAMPLES_CAP = 12, 4
_ENVIRONMENT = {"P2PFED_LOG__FORMAT": "json", "P2PFED_LOG__LEVEL": "debug"}  # Rounds are timed by the log.


def verify_playable(scenario: Scenario, where: str) -> None:
    """Raise UsageError where only the simulator can do what a scenario asks for."""
    for number, fault in enumerate(scenario.faults):
        if fault.kind not in PLAYED:
            raise UsageError(f"{where}: fault {number} is a {fault.kind}, which needs --sim")
    for is_asked, what in (
        (scenario.crashes, "a process can't be made to die between two given effects"),
        (scenario.observers, "observers are not founded with the members"),
        (scenario.late, "nobody joins late"),
        (scenario.trainers, "a process trains as fast as this machine does"),
        (scenario.skew_ms, "all processes have the clock of this machine"),
    ):
        if is_asked:
            raise UsageError(f"{where}: {what}; run it with --sim")
    if scenario.peers > network.PEERS_MAX:
        raise UsageError(
            f"{where}: {scenario.peers} processes, at most {network.PEERS_MAX} run here; run it with --sim"
        )


def play(scenario: Scenario, folder: Path, tell: Callable[[str], None]) -> Played:
    """Found a network under `folder`, run it, do to it what the scenario says, stop it and judge it.

    Raises:
        Terminated: Ctrl-C, SIGTERM or SIGHUP came; no peer is left running.
    """
    plan = plan_of(scenario)
    made = network.create_testnet(folder, plan)
    homes = [folder / peer.name for peer in made.peers]
    started_s = time.monotonic()
    undone = asyncio.run(_Play(scenario, plan, homes, tell).run())
    seconds = time.monotonic() - started_s
    played = judge(scenario, plan.learner, homes)
    return replace(played, violations=(*undone, *played.violations), seconds=round(seconds, 1))


def plan_of(scenario: Scenario) -> network.TestnetPlan:
    """Return the network that a scenario describes, with the learner that virtual time has too."""
    pipes = _pipes_of(scenario)
    port = free_ports(scenario.peers + len(pipes), PORT_FIRST + os.getpid() % PLACES * PORT_STEP)
    codec_name, one_in = parse_codec(scenario.codec)
    return network.TestnetPlan(
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
            scenario.rules or (DEFAULT_RULES,),
            1,
            UPDATE_BITS,
            EXAMPLES_CAP,
            scenario.height_first - 1 + scenario.heights,
            update_lag=scenario.update_lag,
            outer_momentum=scenario.outer_momentum,
            outer_rate=scenario.outer_rate,
            emission=scenario.emission,
            gate_drop=scenario.gate_drop,
            gate_class_drop=scenario.gate_class_drop,
            gate_patience=scenario.gate_patience,
            codec=codec_name,
            codec_one_in=one_in,
            height_first=scenario.height_first,
        ),
        transport="tcp",
        pipes=tuple(network.Pipe(*pair, port + scenario.peers + place) for place, pair in enumerate(pipes)),
        port=port,
        http_port=0,
        linger_s=LINGER_S,
        seed=scenario.seed,
    )


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
