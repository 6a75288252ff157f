"""The world of a run of cores: one heap of virtual time, one seed, oracles, faults. Nothing in it waits."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import sha256
from heapq import heappop, heappush
from random import Random

from msgspec import Struct

from p2pfed.consensus import io
from p2pfed.sim.cores.checkers import Checkers
from p2pfed.sim.cores.core import (
    PRESET,
    Ask,
    CollectDue,
    Core,
    Heard,
    Later,
    Spoken,
    on_the_way,
    short,
)
from p2pfed.sim.cores.network import Network
from p2pfed.sim.cores.oracle import SignatureOracle, committee, new_header
from p2pfed.sim.cores.plotters import crew
from p2pfed.sim.cores.schedule import Fault, Schedule
from p2pfed.sim.cores.transcript import INPUT_NUMBERS, told
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert

ASK_MS = 500  # As production; but here one other is told at a time.
# After healing each height ends within so many rounds: catching up, then a turn of each liar, then of one
# honest proposer whose value all may vote for; twice, for a lock that only one knew.
ROUNDS_TO_DECIDE = 4
DOWN_MS = (100, 2_000)

Witness = Callable[[int, int, str], None]  # (ms, slot, what happened)


class Outcome(Struct, frozen=True):
    """What a run came to.

    undecided: Honest cores that lacked a height at the deadline after healing.
    accused_power: On a fork, the power convicted of E1 or E2 by what honest cores signed or heard.
    accused_power_e1: ... of E1 alone.
    fired: How often each fault of the schedule struck.
    """

    seed: int
    violations: tuple[str, ...]
    undecided: int
    forks: int
    accused_power: int | None
    accused_power_e1: int | None
    framed: tuple[int, ...]
    round_max: int
    locks_moved: int
    locks_changed: int
    fired: tuple[int, ...]
    events: int
    virtual_ms: int
    trace: bytes


class _Own(Struct, frozen=True):
    life: int
    input: io.Input | CollectDue


class World:
    """All cores of a run. A slot is a running core; twins are two slots of one validator."""

    def __init__(self, schedule: Schedule, witness: Witness | None = None, core: type[Core] = Core) -> None:
        self.schedule = schedule
        self.now_ms = 0
        self.events = 0
        self.is_over = False  # Every honest core has every height, or a law is broken.
        self.powers = (1,) * schedule.peers
        self.validators, keys = committee(self.powers)
        self.signatures = SignatureOracle(keys)
        self.checkers = Checkers(schedule, self.powers)
        self.headers: dict[bytes, Header] = {}
        self.dice = Random(schedule.seed)
        self.random = self.dice.random
        self.network = Network(schedule, self.dice)
        self.fired = self.network.fired
        self._witness = witness
        self._trace: list[int] = []
        self._heap: list[tuple[int, int, int, object]] = []
        self._order = 0
        kinds = dict(schedule.liars)
        self.cores = [
            core(self, index, index, keys[index])
            if index not in kinds
            else crew(self, index, keys[index], kinds[index])
            for index in range(schedule.peers)
        ]
        self.honest = [one for one in self.cores if one.index not in kinds]
        for index, kind in schedule.liars:
            if kind == "twins":
                self.cores.append(Core(self, len(self.cores), index, keys[index]))
        self._is_recording = not schedule.is_safe
        self._is_heeding = self._is_recording or witness is not None
        self._heard: dict[Spoken, None] = {}
        self._clocks: dict[int, list[tuple[int, Fault]]] = {}
        self._slow_checks: dict[int, list[tuple[int, Fault]]] = {}
        self._prepare_faults()

    def run(self) -> Outcome:
        """Run until every honest core has every height, a law is broken, or the deadline passes."""
        for core in self.cores:
            core.start()
            self._push(int(self.random() * ASK_MS), core.slot, None)
        heap, cores = self._heap, self.cores
        deadline_ms, has_pauses = self._deadline_ms(), bool(self._pauses)
        while heap and not self.is_over:
            self.now_ms, _, slot, what = heappop(heap)
            if self.now_ms > deadline_ms:
                break
            core = cores[slot]
            if has_pauses and self._is_paused(core, what):
                continue
            self.events += 1
            self._deliver(core, what)
        return self._outcome()

    def forget(self) -> None:
        """Untie the knot of cores and world: memory is free at once, and the next run finds it warm."""
        self.cores, self.honest, self._heap = [], [], []

    def decided(self, core: Core, cert: CommitCert) -> None:
        """A core stored a decision."""
        self.note(core.slot, f"decides {cert.value_id.hex()[:6]}")
        self.checkers.decided(core, cert)
        last = self.schedule.heights
        if len(core.commits) >= last and all(len(one.commits) >= last for one in self.honest):
            self.is_over = True

    # What cores ask of the world

    def draw(self, low: int, high: int) -> int:
        """Return how long something takes this time."""
        return low + int(self.random() * (high - low))

    def later(self, core: Core, delay_ms: int, input_: io.Input | CollectDue) -> None:
        self._push(delay_ms, core.slot, _Own(core.life, input_))

    def send(self, core: Core, slot: int, message: Spoken, delay_ms: int = 0) -> None:
        """Carry a message to one slot, as the network lets it."""
        self._carry(core.index, self.cores[slot], on_the_way(core.slot, message), delay_ms)

    def broadcast(self, core: Core, message: Spoken, delay_ms: int = 0) -> None:
        self.checkers.leaves(core, message)
        if self._witness is not None:
            self._witness(self.now_ms, core.slot, f"says {told(message)}")
        heard = on_the_way(core.slot, message)
        for other in self.cores:
            if other is not core:
                self._carry(core.index, other, heard, delay_ms)

    def new_value(self, height: int, round0: int, proposer: int, *, is_valid: bool = True) -> Header:
        """Return a value nobody saw before; the oracle remembers whether it is valid."""
        header = new_header(self.validators, height, round0, len(self.headers) + 1, proposer)
        self.headers[header.value_id] = header
        if is_valid:
            self.checkers.valid_values.add(header.value_id)
        return header

    def check(self, core: Core, value_id: bytes) -> Later:
        """Answer, after a while, whether a value is valid."""
        delay_ms = self.draw(3, 40)
        for number, fault in self._slow_checks.get(core.index, ()):
            if self.now_ms < fault.until_ms:
                self.fired[number] += 1
                delay_ms += fault.amount
        return Later(delay_ms, io.ValueReady(value_id, value_id in self.checkers.valid_values))

    def by_clock_of(self, core: Core, delay_ms: int) -> int:
        """Return how long a wait lasts by this core's clock: it may jump."""
        for number, fault in self._clocks.get(core.index, ()):
            if self.now_ms < fault.until_ms:
                self.fired[number] += 1
                delay_ms = int(delay_ms * fault.share)
        return delay_ms

    def crashed(self, core: Core, number: int) -> None:
        """Kill a core now and bring it back later."""
        fault = self.schedule.faults[number]
        self.fired[number] += 1
        core.crash()
        self.checkers.crashed(core)
        shortest, longest = DOWN_MS
        self.note(core.slot, "dies")
        self._push(shortest + int(fault.share * (longest - shortest)), core.slot, self)

    def note(self, slot: int, text: str) -> None:
        if self._witness is not None:
            self._witness(self.now_ms, slot, text)

    def _carry(self, sender: int, receiver: Core, heard: Heard, delay_ms: int = 0) -> None:
        now_ms, slot = self.now_ms, receiver.slot
        for wire_ms in self.network.delays(sender, receiver.index, heard.kind, now_ms):
            self._order += 1
            heappush(self._heap, (now_ms + wire_ms + delay_ms, self._order, slot, heard))

    def _push(self, delay_ms: int, slot: int, what: object) -> None:
        self._order += 1
        heappush(self._heap, (self.now_ms + delay_ms, self._order, slot, what))

    def _deliver(self, core: Core, what: object) -> None:
        """Let one event happen: a message, a core's own wait, a question to the others (None), a return."""
        trace, slot = self._trace, core.slot
        if type(what) is Heard:
            if core.is_up:
                trace.extend((self.now_ms, slot, what.sender, what.number))
                if self._is_heeding:
                    self._heed(core, what)
                core.hear(what)
        elif type(what) is _Own:
            if core.is_up and what.life == core.life:
                trace.extend((self.now_ms, slot, what.life, INPUT_NUMBERS[type(what.input)]))
                if self._witness is not None:
                    self._witness(self.now_ms, slot, f"gets {what.input}")
                core.take(what.input)
        elif what is None:
            self._push(ASK_MS, slot, None)
            others = len(self.cores) - 1
            other = int(self.random() * others)
            other += other >= slot
            if core.is_up and not core.is_done:
                self._carry(core.index, self.cores[other], on_the_way(slot, core.ask()))
        else:
            trace.extend((self.now_ms, slot, -1, core.life))
            self.note(slot, "comes back")
            core.restart()

    def _heed(self, core: Core, heard: Heard) -> None:
        """Tell the witness, and remember what the honest know after a fork."""
        if isinstance(heard.message, Ask):
            return
        if self._witness is not None:
            self._witness(self.now_ms, core.slot, f"hears {told(heard.message)} from {heard.sender}")
        if self._is_recording and core in self.honest:
            self._heard[heard.message] = None

    # Faults of peers

    def _prepare_faults(self) -> None:
        self._pauses: list[tuple[int, Fault]] = []
        for number, fault in enumerate(self.schedule.faults):
            if fault.kind == "crash":
                self.cores[fault.peers[0]].crashes.setdefault(fault.amount, number)
            elif fault.kind == "pause":
                self._pauses.append((number, fault))
            elif fault.kind == "clock":
                self._clocks.setdefault(fault.peers[0], []).append((number, fault))
            elif fault.kind == "slow_check":
                self._slow_checks.setdefault(fault.peers[0], []).append((number, fault))

    def _is_paused(self, core: Core, what: object) -> bool:
        for number, fault in self._pauses:
            if core.index in fault.peers and fault.from_ms <= self.now_ms < fault.until_ms:
                self.fired[number] += 1
                self._push(fault.until_ms - self.now_ms, core.slot, what)
                return True
        return False

    def _deadline_ms(self) -> int:
        """Return by when all is decided: healing, then each height within its rounds, at their slowest."""
        liars, heights = len(self.schedule.liars), self.schedule.heights
        # Waits grow with the round. A round takes a second at least, so healing bounds the one reached.
        reached = self.schedule.heal_ms // 1_000 + ROUNDS_TO_DECIDE
        rounds = [reached + number for number in range(ROUNDS_TO_DECIDE + 2 * liars)]
        return self.schedule.heal_ms + heights * sum(
            PRESET.propose_ms(round_) + 2 * PRESET.vote_ms(round_) for round_ in rounds
        )

    def _outcome(self) -> Outcome:
        checkers, schedule = self.checkers, self.schedule
        accused = checkers.finish(self._heard)
        undecided = sum(len(core.commits) < schedule.heights for core in self.honest)
        if checkers.violations or checkers.forks:
            undecided = 0  # The run ended before its time.
        elif undecided and schedule.is_safe:
            stands = [(len(c.commits), c.engine.round, c.engine.current_step.name) for c in self.honest]
            checkers.violations.append(
                f"undecided at {self.now_ms} ms, healed at {schedule.heal_ms}: {stands}"
            )
        for one in self.honest:
            self._trace.extend(short(cert.value_id) for cert in one.commits)
        return Outcome(
            seed=schedule.seed,
            violations=tuple(checkers.violations),
            undecided=undecided,
            forks=len(checkers.forks),
            accused_power=None if accused is None else accused[0],
            accused_power_e1=None if accused is None else accused[1],
            framed=tuple(sorted(checkers.framed)),
            round_max=checkers.round_max,
            locks_moved=checkers.locks_moved,
            locks_changed=checkers.locks_changed,
            fired=tuple(self.fired),
            events=self.events,
            virtual_ms=self.now_ms,
            trace=sha256(array("q", self._trace).tobytes()).digest(),
        )


def run(schedule: Schedule, witness: Witness | None = None) -> Outcome:
    """Run a schedule to its end; the same one gives the same outcome, bit for bit."""
    world = World(schedule, witness)
    outcome = world.run()
    world.forget()
    return outcome
