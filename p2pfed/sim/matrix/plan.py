"""What a matrix is: settings that all its cells share, and the axes whose product they are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

import msgspec
from msgspec import Struct

from p2pfed.adversary.registry import is_on_values, make_attack
from p2pfed.aggregation.catalogue import named_rule
from p2pfed.errors import UsageError
from p2pfed.types.params import NESTEROV, OUTER_ONE, OUTER_RATE_MAX, PARTICIPANTS_MAX

NONE = "none"  # The attack of a cell in which nobody lies; the rule still reckons with f liars.
CELLS_MAX = 100_000
HEIGHTS_MAX = 100_000

Layout = Literal["array", "row"]


class Cell(Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """One training: which rule against which attack of how many liars, on which split, from which seed."""

    rule: str
    attack: str
    faulty: int
    split: str
    seed: int


class Plan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A matrix.

    app, data_dir, params: The learner, as `p2pfed testnet create` takes it.
    peers: How many train at each height.
    heights: How often they merge.
    layout: What a rule works on: each array alone, as networks do, or whole updates as one row, to compare.
    outer: Momentum and rate of the outer step, in units of 2^-16, as genesis has them.
    momentum: What a trainer keeps of its last step, in thousandths: m = momentum m + (1 - momentum) u.
    metric: The figure of the learner that is drawn.
    rules, attacks, faulty, splits, seeds: The axes.
    """

    app: str = "digits:mlp"
    data_dir: str = ""
    params: dict[str, str] = {}
    peers: int = 10
    heights: int = 20
    layout: Layout = "array"
    outer: tuple[int, int] = NESTEROV
    momentum: int = 0
    metric: str = "acc(public)"
    rules: tuple[str, ...]
    attacks: tuple[str, ...]
    faulty: tuple[int, ...]
    splits: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def count(self) -> int:
        axes = (self.rules, self.attacks, self.faulty, self.splits, self.seeds)
        return len(list(product(*axes)))

    def cells(self) -> Iterator[Cell]:
        """Yield every cell, a whole picture of the first seed before the second begins."""
        for seed, split, faulty, rule, attack in product(
            self.seeds, self.splits, self.faulty, self.rules, self.attacks
        ):
            yield Cell(rule, attack, faulty, split, seed)

    def settings(self) -> dict[str, object]:
        """Return what all cells share; the metric only changes what is drawn."""
        axes = ("rules", "attacks", "faulty", "splits", "seeds", "metric")
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in axes}


# Ten rules, ten attacks beside none, three splits: what fits on a narrow screen and in a quarter of an hour.
DEFAULT = Plan(
    rules=(
        "mean", "median", "trimmed_mean", "krum", "multi_krum", "mda", "geometric_median", "centred_clipping",
        "nnm+trimmed_mean", "clip_nnm_trimmed_mean",
    ),
    attacks=(
        NONE, "sign_flip", "alie", "alie_optimal", "ipm", "ipm_optimal", "min_max", "mimic", "label_flip",
        "noise", "concentrated",
    ),
    faulty=(3,),
    splits=("iid", "dirichlet:1.0", "dirichlet:0.3"),
    seeds=(1,),
)  # fmt: skip


def verify_plan(plan: Plan) -> None:
    """Raise UsageError where a matrix makes no sense; a rule whose bound fails is a cell's own failure."""
    for name, value, low, high in (
        ("--peers", plan.peers, 1, PARTICIPANTS_MAX),
        ("--heights", plan.heights, 1, HEIGHTS_MAX),
        ("--momentum", plan.momentum, 0, 999),
        ("the momentum of --outer", plan.outer[0], 0, OUTER_ONE - 1),
        ("the rate of --outer", plan.outer[1], 1, OUTER_RATE_MAX),
    ):
        if not low <= value <= high:
            raise UsageError(f"{name} is {value}; it goes from {low} to {high}")
    for name in ("rules", "attacks", "faulty", "splits", "seeds"):
        axis: Sequence[object] = getattr(plan, name)
        if not axis:
            raise UsageError(f"--{name} names nothing")
        if len(set(axis)) < len(axis):
            raise UsageError(f"--{name} names something twice: {', '.join(map(str, axis))}")
    for rule in plan.rules:
        named_rule(rule)
    for attack in plan.attacks:
        if attack != NONE:
            make_attack(attack)
    for faulty in plan.faulty:
        if not 0 <= faulty < plan.peers:
            raise UsageError(f"{faulty} of {plan.peers} peers lie; somebody must be honest")
    if any(seed < 0 for seed in plan.seeds):
        raise UsageError(f"a seed is 0 or more, not {min(plan.seeds)}")
    if plan.count > CELLS_MAX:
        raise UsageError(f"this matrix has {plan.count} cells; at most {CELLS_MAX} are run")


def parse_list(text: str) -> tuple[str, ...]:
    """Return the parts between commas; `key=value` after a comma still belongs to the attack before it."""
    parts: list[str] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        if parts and "=" in part and ":" not in part and is_on_values(parts[-1]):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return tuple(parts)


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of `1,2,5-8`; raises UsageError."""
    numbers: list[int] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 9 for end in ends):
            raise UsageError(f"{option} takes numbers like 1,2 or 1-5, not {part!r}")
        low, high = map(int, ends)
        if not 0 <= high - low < CELLS_MAX:
            raise UsageError(f"{option} goes from {low} to {high}")
        numbers.extend(range(low, high + 1))
    return tuple(numbers)


def command_of(plan: Plan, cell: Cell) -> str:
    """Return the command that runs one cell again and keeps nothing."""
    words = ["p2pfed", "lab", "matrix", "--output", "-"]
    for name, flag in (
        ("app", "--app"), ("data_dir", "--data-dir"), ("peers", "--peers"), ("heights", "--heights"),
        ("layout", "--layout"), ("metric", "--metric"),
    ):  # fmt: skip
        value = getattr(plan, name)
        if value != getattr(DEFAULT, name):
            words += [flag, str(value)]
    if plan.outer != DEFAULT.outer:
        words += ["--outer", ",".join(f"{part / OUTER_ONE:.7g}" for part in plan.outer)]
    if plan.momentum:
        words += ["--momentum", f"{plan.momentum / 1000:g}"]
    for key, value in plan.params.items():
        words += ["--param", f"{key}={value}"]
    words += ["--rules", cell.rule, "--attacks", cell.attack, "--faulty", str(cell.faulty)]
    words += ["--splits", cell.split, "--seeds", str(cell.seed)]
    return shlex.join(words)


def encode_plan(plan: Plan) -> bytes:
    """Return plan.json."""
    return msgspec.json.format(msgspec.json.encode(plan)) + b"\n"


def decode_plan(data: bytes, where: str) -> Plan:
    """Return the plan in `data`; raises UsageError, with `where` in the sentence."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} is no plan of a matrix: {error}") from None
    verify_plan(plan)
    return plan
