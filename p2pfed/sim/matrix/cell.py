"""Run one cell: the product's learners, integers and rules, and liars who see every honest update."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

import msgspec
import numpy as np

from p2pfed.adversary.attacks.attack import Attack
from p2pfed.adversary.attacks.crew import Crew
from p2pfed.adversary.attacks.foresight import Foresight
from p2pfed.adversary.registry import make_attack, poison_of
from p2pfed.aggregation.catalogue import named_rule
from p2pfed.aggregation.step import OuterStep
from p2pfed.errors import UsageError
from p2pfed.learning.apps import load_learner
from p2pfed.learning.founding import found_in_process
from p2pfed.learning.inprocess import Turn, train_in_process
from p2pfed.learning.learner import AppContext, Learner, LearnerError, Metrics
from p2pfed.learning.quality import shown
from p2pfed.learning.session import Session
from p2pfed.privacy.mechanism import model_view
from p2pfed.sim.matrix.plan import NONE, Cell, Plan, command_of
from p2pfed.sim.matrix.wrappers import Momentum, WholeRow
from p2pfed.types.model import Group, Int16Vector, ModelState

SCHEMA = "p2pfed.lab-cell/1"
UPDATE_BITS, EXAMPLES_CAP = 12, 4  # As `testnet create` founds networks.
FALLBACK = "multi_krum"  # Takes the groups that a rule declines.


class Row(Cell, frozen=True, tag_field="schema", tag=SCHEMA, forbid_unknown_fields=True, kw_only=True):
    """What came of a cell.

    value: The figure that is drawn; None where the cell failed, then `error` says why.
    metrics: All figures of the learner for the last model, `backdoor` among them where a mark was planted.
    model: Root of the last model: equal roots, equal bits.
    cpu_s: CPU time of this cell.
    command: Runs it again.
    """

    value: float | None
    metrics: dict[str, float | int]
    model: str
    cpu_s: float
    error: str
    command: str

    @property
    def cell(self) -> Cell:
        return Cell(self.rule, self.attack, self.faulty, self.split, self.seed)


def run_cell(plan: Plan, cell: Cell) -> Row:
    """Train one cell and measure its last model.

    Raises:
        UsageError: The rule can't hold with so many liars, or the learner has no such metric.
        LearnerError: The learner can't be used. What a user's own learner raises passes through.
    """
    started_s = time.process_time()
    named = named_rule(cell.rule)
    if not named.bound(plan.peers, cell.faulty):
        raise UsageError(f"{cell.rule} needs {named.needs}: here n is {plan.peers} and f is {cell.faulty}")
    is_lying = cell.attack != NONE and cell.faulty > 0
    liars = _liars(plan, cell) if is_lying else ()
    poison = poison_of(cell.attack)
    sessions = [_session(plan, cell, peer, poison if peer in liars else {}) for peer in range(plan.peers)]
    honest = next(peer for peer in range(plan.peers) if peer not in liars)
    model = found_in_process(sessions[honest], UPDATE_BITS).model
    if plan.outer[0]:
        model = msgspec.structs.replace(model, velocity=np.zeros_like(model.weights))
    if poison and liars:
        _verify_poisoned(plan, cell, sessions[liars[0]], liars[0])
    run = train_in_process(
        sessions, model, heights=plan.heights, rule=cell.rule, faulty_max=cell.faulty,
        update_bits=UPDATE_BITS, examples_cap=EXAMPLES_CAP, outer=OuterStep(*plan.outer),
        later_rules=(FALLBACK,) if named.rule.may_decline else (), liars=liars,
        lie=_Lies(plan, cell, sessions[honest], liars) if is_lying else None,
        evaluate_from=plan.heights + 1,
    )  # fmt: skip
    judge = sessions[liars[0] if poison and liars else honest]  # A mark is measured by who planted it.
    metrics = shown(judge.evaluate(model_view(run.model, judge.manifest.groups), plan.heights, plan.heights))
    return _row(plan, cell, metrics, run.model, time.process_time() - started_s)


def failed_row(plan: Plan, cell: Cell, error: str) -> Row:
    """Return the row of a cell that came to nothing."""
    return Row(
        cell.rule, cell.attack, cell.faulty, cell.split, cell.seed, value=None, metrics={}, model="",
        cpu_s=0.0, error=error, command=command_of(plan, cell),
    )  # fmt: skip


def _row(plan: Plan, cell: Cell, metrics: Metrics, model: ModelState, cpu_s: float) -> Row:
    if plan.metric not in metrics:
        there = ", ".join(metrics) or "none"
        raise UsageError(f"the learner gives no figure {plan.metric!r}; choose with --metric from {there}")
    value = round(float(metrics[plan.metric]), 6)
    return Row(
        cell.rule, cell.attack, cell.faulty, cell.split, cell.seed, value=value, metrics=metrics,
        model=model.root.hex(), cpu_s=round(cpu_s, 3), error="", command=command_of(plan, cell),
    )  # fmt: skip


def _liars(plan: Plan, cell: Cell) -> tuple[int, ...]:
    """Return who lies, drawn from the seed: no share of the data and no tie is always theirs."""
    return tuple(sorted(Random(f"liars/{cell.seed}").sample(range(plan.peers), cell.faulty)))


def _session(plan: Plan, cell: Cell, peer: int, poison: dict[str, str]) -> Session:
    app = AppContext(peer, plan.peers, cell.split, cell.seed, plan.data_dir, plan.params | poison)
    learner: Learner = load_learner(plan.app, app)
    if plan.momentum:
        learner = Momentum(learner, plan.momentum / 1000)
    if plan.layout == "row":
        learner = WholeRow(learner)
    return Session(learner, app)


def _verify_poisoned(plan: Plan, cell: Cell, poisoned: Session, peer: int) -> None:
    """Raise LearnerError where a learner that was told to poison its data trains as an honest one does."""
    honest = _session(plan, cell, peer, {})
    fresh = _session(plan, cell, peer, poison_of(cell.attack))
    updates = [one.train(poisoned.initial, 1, 0).delta for one in (honest, fresh)]
    if updates[0].tobytes() == updates[1].tobytes():
        setting = poison_of(cell.attack)["poison"]
        raise LearnerError(
            f"the learner takes no notice of poison={setting} in context.params: its update is the honest one"
        )


class _Lies:
    """What the liars of a cell send at each height."""

    def __init__(self, plan: Plan, cell: Cell, session: Session, liars: Sequence[int]) -> None:
        attacks: list[Attack] = [make_attack(cell.attack) for _ in liars]
        self._crew = Crew(attacks, cell.seed, _arrays(plan, cell))
        self._cell, self._manifest = cell, session.manifest
        declines = named_rule(cell.rule).rule.may_decline
        self._rules = (cell.rule, FALLBACK) if declines else (cell.rule,)

    def __call__(self, turn: Turn) -> Sequence[Int16Vector]:
        foresight = Foresight(self._manifest, turn.model, self._rules, self._cell.faulty, UPDATE_BITS)
        return self._crew.crafted(turn.height, turn.own, turn.honest, foresight, turn.before)


def _arrays(plan: Plan, cell: Cell) -> Sequence[Group]:
    """Return the arrays of the model, whatever the rule works on."""
    plain = msgspec.structs.replace(plan, layout="array")
    return _session(plain, cell, 0, {}).manifest.groups
