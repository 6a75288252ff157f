"""Train peers in one process with the network's own learners, integers and rules, but without a network.

The demo prints such trainings beside the real one, labelled so: they show what a rule alone would do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from p2pfed.aggregation.engine import STILL, choose_rule, merge
from p2pfed.aggregation.past import Past
from p2pfed.aggregation.step import OuterStep
from p2pfed.learning.learner import Metrics
from p2pfed.learning.session import Session
from p2pfed.primitives.digest import tagged
from p2pfed.privacy.mechanism import model_view, quantise
from p2pfed.types.model import Int16Vector, ModelState


class Turn(Struct, frozen=True, eq=False):
    """What liars who see everything know of a height. Vectors are int16 of shape `(d,)`.

    height: The height that the updates are for.
    honest: The updates of the honest; `own`: what each liar trained, in the order of `liars`.
    model: What all trained from; `before`: the model a height earlier, None at the first.
    """

    height: int
    honest: Sequence[Int16Vector]
    own: Sequence[Int16Vector]
    model: ModelState
    before: ModelState | None


Lie = Callable[[Turn], Sequence[Int16Vector]]
"""Returns the update of each liar, in the order of `liars`."""


class InProcessRun(Struct, frozen=True, eq=False):
    """The first peer's figures after each measured height, and the last model."""

    metrics: tuple[Metrics, ...]
    model: ModelState


def train_in_process(
    sessions: Sequence[Session],
    model: ModelState,
    *,
    heights: int,
    rule: str,
    faulty_max: int,
    update_bits: int,
    examples_cap: int,
    later_rules: Sequence[str] = (),
    outer: OuterStep = STILL,
    liars: Sequence[int] = (),
    lie: Lie | None = None,
    evaluate_from: int = 1,
) -> InProcessRun:
    """Train `sessions` for `heights` heights from `model`; every peer's update is in every height.

    Args:
        sessions: One for each peer, in the order of their public keys.
        model: The model of genesis.
        heights: How many heights, at least 1.
        rule: The rule that merges; the rest as in `aggregation.engine.merge`.
        faulty_max: Updates that may lie.
        update_bits: `T` of genesis.
        examples_cap: `examples_cap` of genesis.
        later_rules: The rules that may take over, in order. The last one must take any updates; a rule that
            needs the aggregate before has none at the first height.
        outer: The outer step; with momentum `model` has a velocity.
        liars: Positions in `sessions` of the peers that lie.
        lie: What the liars send instead of their own updates.
        evaluate_from: The first height after which the model is measured.

    Raises:
        LearnerError: A learner broke its contract, or its update is NaN or infinite.
    """
    assert heights >= 1
    manifest = sessions[0].manifest
    assert all(session.manifest == manifest for session in sessions)
    metrics: list[Metrics] = []
    past: Past | None = None
    before: ModelState | None = None
    for height in range(1, heights + 1):
        view = model_view(model, manifest.groups)
        trained = [session.train(view, height, height - 1) for session in sessions]
        honest = [quantise(turn.delta, manifest.groups, model.update_exponents) for turn in trained]
        rows = honest if lie is None else _with_lies(height, honest, liars, lie, model, before)
        names = (rule, *later_rules)
        chosen = choose_rule(names, len(rows), faulty_max, has_past=past is not None)
        assert chosen is not None, f"none of {names} stands {faulty_max} liars of {len(rows)}"
        merged = merge(
            manifest, model, rows, [turn.examples for turn in trained], faulty_max=faulty_max,
            rule=chosen, later_rules=names[names.index(chosen) + 1 :], update_bits=update_bits,
            examples_cap=examples_cap, outer=outer, seed=tagged("seed", height.to_bytes(8, "big")), past=past,
        )  # fmt: skip
        past, before, model = Past(merged.aggregate, model.model_exponents), model, merged.model
        if height >= evaluate_from:
            metrics.append(sessions[0].evaluate(model_view(model, manifest.groups), height, height))
    return InProcessRun(tuple(metrics), model)


def _with_lies(
    height: int,
    updates: Sequence[Int16Vector],
    liars: Sequence[int],
    lie: Lie,
    model: ModelState,
    before: ModelState | None,
) -> list[Int16Vector]:
    honest = [update for peer, update in enumerate(updates) if peer not in liars]
    said = lie(Turn(height, honest, [updates[peer] for peer in liars], model, before))
    rows = list(updates)
    for peer, update in zip(liars, said, strict=True):
        rows[peer] = update
    return rows
