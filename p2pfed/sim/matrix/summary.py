"""Sums over the rows of a matrix: a value for each rule and attack, and each rule's worst attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean

from msgspec import Struct

from p2pfed.sim.matrix.cell import Row
from p2pfed.sim.matrix.plan import NONE, Cell, Plan


class Square(Struct, frozen=True):
    """A rule against an attack in one panel, over all seeds.

    value: The mean over seeds; None where no cell is done, or one failed.
    done, failed: How many cells.
    error: Of the first that failed.
    """

    value: float | None
    done: int
    failed: int
    error: str


class Panel(Struct, frozen=True):
    """All rules against all attacks, of one split and one number of liars.

    squares: By (rule, attack).
    """

    split: str
    faulty: int
    squares: Mapping[tuple[str, str], Square]

    def worst(self, plan: Plan, rule: str) -> tuple[float, str] | None:
        """Return the least value of a rule under attack, and the attack; None where nothing is known."""
        known = [
            (value, attack)
            for attack in plan.attacks
            if attack != NONE and (value := self.squares[rule, attack].value) is not None
        ]
        return min(known, default=None)


def panels(plan: Plan, rows: Mapping[Cell, Row]) -> list[Panel]:
    """Return a panel for each split and number of liars, in the order of the plan."""
    return [
        Panel(
            split,
            faulty,
            {
                (rule, attack): _square(
                    row
                    for seed in plan.seeds
                    if (row := rows.get(Cell(rule, attack, faulty, split, seed))) is not None
                )
                for rule in plan.rules
                for attack in plan.attacks
            },
        )
        for faulty in plan.faulty
        for split in plan.splits
    ]


def _square(rows: Iterable[Row]) -> Square:
    found = list(rows)
    values = [row.value for row in found if row.value is not None]
    errors = [row.error for row in found if row.value is None]
    value = mean(values) if values and not errors else None
    return Square(value, len(values), len(errors), errors[0] if errors else "")
