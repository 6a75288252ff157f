"""Train peers in one process twice: with the network's integers, and as a float32 twin that only averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.engine import STILL, merge
from p2pfed.aggregation.payload import PayloadForm
from p2pfed.aggregation.step import OuterStep
from p2pfed.learning.feedback import Feedback, payload_of
from p2pfed.learning.founding import first_state
from p2pfed.learning.learner import ACCURACY_PUBLIC
from p2pfed.learning.session import Session
from p2pfed.primitives.digest import tagged
from p2pfed.privacy.mechanism import model_view
from p2pfed.types.model import Float32Vector, Int16Vector, ModelState

UPDATE_BITS = 12
Lie = Callable[[int, Sequence[Int16Vector], Int16Vector], Int16Vector]


class Choices(Struct, frozen=True, kw_only=True):
    """What a founder chooses. `late`: peer -> from how many models back it trains."""

    codec: str = "int16"
    one_in: int = 1
    outer: OuterStep = STILL
    rule: str = "mean"
    faulty: int = 0
    late: dict[int, int] = {}


def in_integers(
    sessions: Sequence[Session], heights: int, choices: Choices, lie: Lie | None = None, liars: int = 0
) -> tuple[list[float], ModelState, int]:
    """Return the accuracy after each height, the last model, and the bytes of one update."""
    first, manifest = sessions[0], sessions[0].manifest
    founding = first.train(first.initial, 0, 0).delta
    model = first_state(manifest, first.initial, founding, UPDATE_BITS)
    oldest = max(choices.late.values(), default=0)
    velocity = np.zeros(manifest.size if choices.outer.momentum else 0, np.int32)
    past = np.tile(model.update_exponents, (oldest, 1))
    model = ModelState(model.weights, model.update_exponents, model.model_exponents, past, velocity)
    form = PayloadForm(manifest, choices.codec, choices.one_in)  # type: ignore[arg-type]
    left = [Feedback.none(manifest.size if form.has_feedback else 0) for _ in sessions]
    models, accuracies = [model], []
    for height in range(1, heights + 1):
        rows, examples, ages = [], [], []
        seed = tagged("seed", height.to_bytes(8, "big"))
        for peer, session in enumerate(sessions):
            age = min(choices.late.get(peer, 0), height - 1)
            base = models[-1 - age]
            trained = session.train(model_view(base, manifest.groups), height, height - 1)
            payload, left[peer] = payload_of(
                trained.delta, form, base.update_exponents, seed, left[peer],
                base_height=height - 1, last_base=height - 2,
            )  # fmt: skip
            rows.append(form.decode(payload, seed))
            examples.append(trained.examples)
            ages.append(age)
        if lie is not None:
            honest = rows[: len(rows) - liars]
            rows = honest + [lie(height, honest, row) for row in rows[len(honest) :]]
            rows = [form.decode(form.encode(row, seed), seed) for row in rows]
        model = merge(
            manifest, model, rows, examples, faulty_max=choices.faulty, rule=choices.rule,
            update_bits=UPDATE_BITS, examples_cap=0, ages=ages, outer=choices.outer, seed=seed,
        ).model  # fmt: skip
        models = [*models, model][-1 - oldest :]
        accuracies.append(_accuracy(first, model_view(model, manifest.groups)))
    return accuracies, model, form.length


def in_floats(
    sessions: Sequence[Session], heights: int, late: dict[int, int] | None = None
) -> tuple[list[float], Float32Vector]:
    """Return the accuracy after each height of plain federated averaging in float32, and the last weights."""
    first, late = sessions[0], late or {}
    weights, views, accuracies = first.initial, [first.initial], []
    for height in range(1, heights + 1):
        total, step = 0, np.zeros(weights.shape, np.float64)
        for peer, session in enumerate(sessions):
            age = min(late.get(peer, 0), height - 1)
            trained = session.train(views[-1 - age], height, height - 1)
            step += trained.delta.astype(np.float64) * trained.examples / np.sqrt(1 + age)
            total += trained.examples
        weights = (weights + step / total).astype(np.float32)
        for group in first.manifest.groups:
            if group.nonnegative:
                np.maximum(weights[group.slice], 0, out=weights[group.slice])
        views = [*views, weights][-1 - max(late.values(), default=0) :]
        accuracies.append(_accuracy(first, weights))
    return accuracies, weights


def _accuracy(session: Session, view: Float32Vector) -> float:
    return float(session.evaluate(view, 0, 0)[ACCURACY_PUBLIC])
