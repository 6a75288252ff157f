"""What a simulated run is: who lies, what goes wrong, who dies when. One value, so a run repeats."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import count
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct

from p2pfed.adversary.registry import verify_spec
from p2pfed.chain.roles import parse_roles
from p2pfed.errors import UsageError
from p2pfed.gossip.mesh import MESH_DEGREE
from p2pfed.sim.expect import Expect, verify_expect
from p2pfed.sim.faults import BRIDGE, Fault, FaultKind, verify_fault
from p2pfed.types.genesis import Role
from p2pfed.types.params import (
    EMISSION_MAX,
    GATE_PATIENCE_MAX,
    HEIGHT_FIRST_MAX,
    OUTER_ONE,
    OUTER_RATE_MAX,
    PARTICIPANTS_MAX,
    STAKE_TOTAL_MAX,
    UPDATE_LAG_MAX,
)

# A peer carries out 20 to 30 effects a height when nothing goes wrong, so crashes fall all over a run.
EFFECTS_PER_HEIGHT = 30
BOND = 1_000  # So much that 0.5 % of it is not nothing.
PEERS_MAX = 2_000  # Memory: a peer costs about a megabyte.
FAULTS_MAX = 64
TOML_BYTES_MAX = 1 << 20

# Drawn by `random_scenario`; `disconnect` and `kill` are partition and crash once more.
DRAWN: tuple[FaultKind, ...] = (
    "loss", "delay", "duplicate", "reorder", "one_way", "partition", "ring", "bridge", "flapping",
    "bandwidth", "filter", "disconnect", "pause", "clock", "slow", "kill", "full_disk",
)  # fmt: skip
_FILTERED: tuple[tuple[str, ...], ...] = (
    ("proposal",), ("prevote",), ("prevote", "polka"), ("precommit",), ("precommit", "commit"), ("avail",),
    ("update",), ("bulk",), ("digest",),
)  # fmt: skip


class Crash(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`peer` dies right before its effect number `effect` (from 0, over all lives); back after `down_ms`.

    at: Where `effect` counts the passings of a crash point of its disk instead: the point's name, or "write"
        for all of them together. It dies there, inside a write.
    """

    peer: int
    effect: int
    down_ms: int
    at: str = ""

    def __str__(self) -> str:
        where = f"at {self.at} {self.effect}" if self.at else f"before its effect {self.effect}"
        return f"crash of peer {self.peer} {where}, for {self.down_ms} ms"


class Trainer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`peer` trains at a pace of its own: `train_ms` is the shortest and the longest time it takes.

    fails: Of 1,000 trainings so many come to nothing: its data or its machine are not always there.
    """

    peer: int
    train_ms: tuple[int, int] = (10, 120)
    fails: int = 0


class Late(Struct, frozen=True, forbid_unknown_fields=True):
    """`peer` has an empty disk and is not there before `from_ms`; it joins by state."""

    peer: int
    from_ms: int


class Handed(Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence that a stranger hands to peer `to`: `culprit` signed two prevotes of one place.

    It comes at `from_ms`, or as soon after as that peer is up and has a block.
    """

    culprit: int
    to: int
    from_ms: int = 0

    def __str__(self) -> str:
        return f"evidence against peer {self.culprit} handed to peer {self.to} at {self.from_ms} ms"


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One run. Times are in virtual ms from its start; peers are numbered from 0, the liars are the last.

    about: One line for people.
    peers: Members of genesis, at most PARTICIPANTS_MAX.
    heights: The network ends after so many blocks.
    height_first: Of the first of them.
    byzantine: A liar for each entry, as `adversary.registry` spells them.
    observers: Peers that genesis doesn't list, numbered after the members.
    stakes: The bond of each member; none: BOND each.
    roles: COUNT:ROLE as `chain.roles` reads it, from the first member on: `64:validator`, `128:trainer`.
    preset: Of waits, as genesis names it.
    topology: Who dials whom, [dialler, listener], and nobody tells addresses; none: all find each other.
    mesh_degree: To how many members a peer pushes; as many as there are: pushed directly, never passed on.
    delay_ms: The shortest and the longest way of a message; it is drawn anew for each, so they overtake.
    train_ms: How long a training takes.
    trainers: Who trains at another pace, or not always.
    update_lag: From how many heights back an update may be, as genesis names it.
    codec: How updates are spelled, as `init --codec` reads it.
    rules: Aggregation rules, tried in this order; none: the one of the learners.
    outer_momentum, outer_rate: The outer step, as genesis names it; as it stands: that of the learners.
    gate_drop, gate_class_drop, gate_patience: The quality gate, as genesis names it; 0: none.
    emission: What a block pays for work at most, as genesis names it.
    skew_ms: Each peer's clock is wrong by a constant of at most so much.
    late: Peers that join by state.
    evidence: Lies that were not told in the run, handed in as evidence.
    faults, crashes: What goes wrong, in the order in which `keep` counts them.
    run_ms: The run ends then, wherever it is; 0: once all have all heights.
    expect: What must have come of it.
    is_shared: A block is checked and merged once for all peers, a pure function: for large networks.
    """

    about: str = ""
    peers: int = 4
    heights: int = 20
    height_first: int = 1
    byzantine: tuple[str, ...] = ()
    observers: int = 0
    stakes: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    preset: Literal["local", "lan", "wan"] = "local"
    topology: tuple[tuple[int, int], ...] = ()
    mesh_degree: int = MESH_DEGREE
    delay_ms: tuple[int, int] = (1, 10)
    train_ms: tuple[int, int] = (10, 120)
    trainers: tuple[Trainer, ...] = ()
    update_lag: int = 1
    codec: str = "int16"
    emission: int = 0
    rules: tuple[str, ...] = ()
    outer_momentum: int = 0
    outer_rate: int = OUTER_ONE
    gate_drop: int = 0
    gate_class_drop: int = 0
    gate_patience: int = 1
    skew_ms: int = 0
    faults: tuple[Fault, ...] = ()
    crashes: tuple[Crash, ...] = ()
    late: tuple[Late, ...] = ()
    evidence: tuple[Handed, ...] = ()
    run_ms: int = 0
    expect: Expect = Expect()
    is_shared: bool = False
    seed: int = 1

    @property
    def heal_ms(self) -> int:
        """When the last fault is over; crashes count in effects and are not in it."""
        return max((fault.until_ms for fault in self.faults), default=0)

    @property
    def faulty(self) -> tuple[int, ...]:
        """The members that may contradict themselves: liars, culprits, who comes back from an old image."""
        liars = {*range(self.peers - len(self.byzantine), self.peers)}
        struck = {peer for fault in self.faults if fault.kind == "old_image" for peer in fault.peers}
        culprits = {handed.culprit for handed in self.evidence}
        return tuple(sorted(liars | culprits | {peer for peer in struck if peer < self.peers}))

    @property
    def bonds(self) -> tuple[int, ...]:
        return self.stakes or (BOND,) * self.peers

    @property
    def member_roles(self) -> tuple[Role, ...]:
        return parse_roles(self.roles, self.peers)

    @property
    def trainer_places(self) -> tuple[int | None, ...]:
        """The place of each member among those who train, its share of the data; None: it only votes."""
        places = count()
        return tuple(None if role == "validator" else next(places) for role in self.member_roles)

    def dialled_by(self, peer: int) -> tuple[int, ...]:
        """Return whom a peer dials at its start; without a topology peer 0, who tells of the others.

        Observers are dealt out: a member takes OBSERVERS_MAX of them, and turns the rest away.
        """
        if self.topology:
            return tuple(listener for dialler, listener in self.topology if dialler == peer)
        return (peer % self.peers if peer >= self.peers else 0,) if peer else ()

    @property
    def is_safe(self) -> bool:
        """Answer whether less than a third of the votes is faulty, so that there must be no fork."""
        powers = [
            bond if role != "trainer" else 0 for bond, role in zip(self.bonds, self.member_roles, strict=True)
        ]
        return 3 * sum(powers[peer] for peer in self.faulty) < sum(powers)

    @property
    def parts(self) -> tuple[Fault | Crash, ...]:
        """What `keep` chooses from."""
        return (*self.faults, *self.crashes)


# The tables of a file; "": what stands before them.
_SECTIONS: dict[str, type[Struct]] = {
    "": Scenario, "trainers": Trainer, "late": Late, "evidence": Handed, "faults": Fault, "crashes": Crash,
    "expect": Expect,
}  # fmt: skip


def keep(scenario: Scenario, numbers: tuple[int, ...]) -> Scenario:
    """Return the scenario with only these of its parts; raises UsageError for a number that is not there."""
    parts = scenario.parts
    wrong = [number for number in numbers if not 0 <= number < len(parts)]
    if wrong:
        there = f"it has 0 to {len(parts) - 1}" if parts else "it has none"
        raise UsageError(f"this run has no fault {wrong[0]}; {there}")
    kept = [parts[number] for number in sorted(set(numbers))]
    return msgspec.structs.replace(
        scenario,
        faults=tuple(part for part in kept if isinstance(part, Fault)),
        crashes=tuple(part for part in kept if isinstance(part, Crash)),
    )


def load_scenario(data: bytes, where: str) -> Scenario:
    """Return the scenario in TOML; `where` names it in errors.

    Raises:
        UsageError: Not TOML, a key that is none (the nearest is named), or a value that makes no sense.
    """
    if len(data) > TOML_BYTES_MAX:
        raise UsageError(f"{where} has {len(data)} bytes; at most {TOML_BYTES_MAX} are read")
    try:
        _verify_keys(msgspec.toml.decode(data), where)
        scenario = msgspec.toml.decode(data, type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {error}") from None
    verify_scenario(scenario, where)
    return scenario


def _verify_keys(table: dict[str, object], where: str) -> None:
    """Raise UsageError for the first key that no scenario has."""
    for section, kind in _SECTIONS.items():
        found = table.get(section) if section else table
        known = kind.__struct_fields__
        for row in found if isinstance(found, list) else [found]:
            for key in row if isinstance(row, dict) else ():
                if key not in known:
                    nearest = get_close_matches(key, known, n=1, cutoff=0.5)
                    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
                    raise UsageError(f"{where}: {section or 'a scenario'} has no key {key!r}; {hint}")


def dump_scenario(scenario: Scenario) -> str:
    """Return the scenario as TOML; `load_scenario` reads it back."""
    plain: dict[str, object] = msgspec.to_builtins(scenario)
    tables = {name: plain.pop(name, []) for name in ("trainers", "late", "evidence", "faults", "crashes")}
    expect = plain.pop("expect", {})
    lines = _pairs(plain)
    lines += ["[expect]", *_pairs(expect)] if expect else []
    for name, rows in tables.items():
        for row in rows if isinstance(rows, list | tuple) else ():
            lines += [f"[[{name}]]", *_pairs(row)]
    return "\n".join(lines) + "\n"


def _pairs(table: object) -> list[str]:
    """Return the lines of a TOML table of numbers, texts, truths and lists; JSON spells them alike."""
    assert isinstance(table, dict)
    return [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items()]


def verify_scenario(scenario: Scenario, where: str) -> None:
    """Raise UsageError where a run makes no sense."""
    everybody = scenario.peers + scenario.observers
    for name, value, low, high in (
        ("peers", scenario.peers, 1, PARTICIPANTS_MAX),
        ("observers", scenario.observers, 0, PEERS_MAX - scenario.peers),
        ("heights", scenario.heights, 1, 1_000_000),
        ("height_first", scenario.height_first, 1, HEIGHT_FIRST_MAX),
        ("mesh_degree", scenario.mesh_degree, 1, PARTICIPANTS_MAX),
        ("skew_ms", scenario.skew_ms, 0, 3_600_000),
        ("update_lag", scenario.update_lag, 1, UPDATE_LAG_MAX),
        ("emission", scenario.emission, 0, EMISSION_MAX),
        ("outer_momentum", scenario.outer_momentum, 0, OUTER_ONE - 1),
        ("outer_rate", scenario.outer_rate, 1, OUTER_RATE_MAX),
        ("gate_drop", scenario.gate_drop, 0, OUTER_ONE - 1),
        ("gate_class_drop", scenario.gate_class_drop, 0, OUTER_ONE - 1),
        ("gate_patience", scenario.gate_patience, 1, GATE_PATIENCE_MAX),
        ("run_ms", scenario.run_ms, 0, 1_000_000_000),
        ("byzantine", len(scenario.byzantine), 0, scenario.peers),
        ("evidence", len(scenario.evidence), 0, FAULTS_MAX),
        ("faults", len(scenario.faults), 0, FAULTS_MAX),
        ("crashes", len(scenario.crashes), 0, FAULTS_MAX),
    ):
        if not low <= value <= high:
            raise UsageError(f"{where}: {name} is {value}; it goes from {low} to {high}")
    paces = [(f"train_ms of peer {trainer.peer}", trainer.train_ms) for trainer in scenario.trainers]
    for name, (shortest, longest) in (
        ("delay_ms", scenario.delay_ms), ("train_ms", scenario.train_ms), *paces
    ):  # fmt: skip
        if not 0 <= shortest <= longest <= 3_600_000:
            raise UsageError(f"{where}: {name} goes from {shortest} to {longest}")
    if len(scenario.stakes) not in (0, scenario.peers):
        raise UsageError(f"{where}: {len(scenario.stakes)} stakes for {scenario.peers} peers")
    if any(stake < 1 for stake in scenario.stakes) or sum(scenario.bonds) > STAKE_TOTAL_MAX // 2:
        raise UsageError(f"{where}: each stake is 1 or more, all of them at most {STAKE_TOTAL_MAX // 2}")
    if not {"both", "validator"} & {*scenario.member_roles}:
        raise UsageError(f"{where}: nobody votes")
    if not {"both", "trainer"} & {*scenario.member_roles}:
        raise UsageError(f"{where}: nobody trains")
    for spec in scenario.byzantine:
        verify_spec(spec)
    for number, fault in enumerate(scenario.faults):
        verify_fault(fault, everybody, f"{where}: fault {number}")
    for trainer in scenario.trainers:
        if not (0 <= trainer.peer < scenario.peers and 0 <= trainer.fails <= 1_000):
            raise UsageError(
                f"{where}: peer {trainer.peer} fails {trainer.fails} trainings of 1000; "
                f"peers are 0 to {scenario.peers - 1}, and 0 to 1000 may fail"
            )
    for late in scenario.late:
        if not (0 < late.peer < everybody and late.from_ms >= 0):
            raise UsageError(f"{where}: peer {late.peer} is late; 1 to {everybody - 1} may be")
    for handed in scenario.evidence:
        if not (0 <= handed.culprit < scenario.peers and 0 <= handed.to < everybody and handed.from_ms >= 0):
            raise UsageError(f"{where}: {handed}: members are 0 to {scenario.peers - 1}")
    wrong = verify_expect(scenario.expect, scenario.peers)
    if wrong:
        raise UsageError(f"{where}: {wrong}")
    _verify_topology(scenario.topology, everybody, where)
    for crash in scenario.crashes:
        if not (0 <= crash.peer < everybody and crash.effect >= 0 and crash.down_ms >= 0):
            raise UsageError(f"{where}: {crash}: peers are 0 to {everybody - 1}, numbers not negative")


def _verify_topology(topology: tuple[tuple[int, int], ...], peers: int, where: str) -> None:
    """Raise UsageError where pipes lead nowhere, stand twice, or leave somebody alone."""
    pipes = {frozenset(pipe) for pipe in topology}
    if len(pipes) != len(topology) or any(len(pipe) != 2 for pipe in pipes):
        raise UsageError(f"{where}: a topology names each pair of peers once, and nobody dials itself")
    wrong = sorted(peer for pipe in pipes for peer in pipe if not 0 <= peer < peers)
    if wrong:
        raise UsageError(f"{where}: topology names peer {wrong[0]}; there are 0 to {peers - 1}")
    reached, grown = {0}, {0}
    while topology and grown:
        grown = {peer for pipe in pipes if pipe & reached for peer in pipe} - reached
        reached |= grown
    alone = sorted({*range(peers)} - reached)
    if topology and alone:
        raise UsageError(f"{where}: no way leads from peer 0 to peer {alone[0]}: add a pipe to topology")


def random_scenario(
    seed: int,
    peers: int,
    heights: int,
    byzantine: tuple[str, ...],
    kinds: tuple[FaultKind, ...] = DRAWN,
) -> Scenario:
    """Return the schedule of `seed`: one to five faults of these kinds, up to four crashes, wrong clocks."""
    dice = Random(seed)
    heal_ms = dice.randint(2_000, 20_000)
    faults = tuple(
        draw_fault(dice, dice.choice(kinds), peers, peers - len(byzantine), heal_ms)
        for _ in range(dice.randint(1, 5))
    )
    crashes = tuple(
        Crash(
            dice.randrange(peers - len(byzantine)),
            dice.randrange(EFFECTS_PER_HEIGHT * heights),
            dice.randint(100, 5_000),
        )
        for _ in range(dice.randint(0, 4))
    )
    return Scenario(
        peers=peers,
        heights=heights,
        byzantine=byzantine,
        delay_ms=(1, dice.choice((5, 5, 50))),
        skew_ms=dice.choice((0, 0, 400)),
        faults=faults,
        crashes=crashes,
        seed=seed,
    )


def draw_fault(dice: Random, kind: FaultKind, peers: int, honest: int, heal_ms: int) -> Fault:
    """Return a fault of this kind among `peers`, of whom the first `honest` are; it is over by `heal_ms`."""
    from_ms = int(dice.random() ** 2 * heal_ms / 2)
    until_ms = from_ms + 1 + int((0.1 + 0.9 * dice.random()) * (heal_ms - from_ms - 1))
    mixed = dice.sample(range(peers), peers)
    group, one = tuple(sorted(mixed[: dice.randint(1, max(1, peers // 2))])), (dice.randrange(honest),)
    match kind:
        case "loss":
            return Fault(kind, from_ms, until_ms, permille=dice.choice((20, 100, 300)))
        case "delay":
            share, scale_ms = dice.choice((300, 1_000)), dice.choice((30, 200))
            return Fault(kind, from_ms, until_ms, permille=share, amount=scale_ms)
        case "duplicate":
            return Fault(kind, from_ms, until_ms, permille=dice.choice((50, 300)), amount=300)
        case "reorder":
            share, span_ms = dice.choice((100, 400)), dice.choice((60, 900))
            return Fault(kind, from_ms, until_ms, permille=share, amount=span_ms)
        case "one_way":
            return Fault(kind, from_ms, until_ms, tuple(mixed[:2]) if peers > 1 else (0, 0))
        case "ring":
            return Fault(kind, from_ms, until_ms, tuple(mixed))
        case "bridge":
            left = (peers - 1) // 2
            return Fault(kind, from_ms, until_ms, (*mixed[1 : 1 + left], BRIDGE, mixed[0]))
        case "flapping":
            return Fault(kind, from_ms, until_ms, group, amount=dice.choice((200, 1_500)))
        case "bandwidth":
            return Fault(kind, from_ms, until_ms, amount=dice.choice((20_000, 200_000)))
        case "filter":
            share, messages = dice.choice((500, 1_000, 1_000)), dice.choice(_FILTERED)
            return Fault(kind, from_ms, until_ms, group, share, messages=messages)
        case "clock":
            return Fault(kind, from_ms, until_ms, one, amount=dice.choice((-5_000, 400, 60_000)))
        case "slow":
            return Fault(kind, from_ms, until_ms, one, amount=dice.choice((700, 2_500)))
        case "pause" | "kill" | "full_disk" | "old_image":
            return Fault(kind, from_ms, until_ms, one)
        case _:
            return Fault(kind, from_ms, until_ms, group)
