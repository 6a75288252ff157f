"""How often the quality gate turns away honest models, and how often models with a backdoor.

    python benchmarks/gate.py [--seeds 40] [--rule mean] [--outer off] [--data-dir mnist5k.npz] --json

Ten validators train digits (or images of --data-dir), three of them lie about quality. With the rule `mean`
nothing but the gate stands in the way; f of any other is what a network of equal stakes derives, 3 of 10.
A height is what the network does: the product's learners, integers, merge and ledger module; only votes are
left out, which change no value. Without a backdoor the three say, height by height, either all or nothing.
With one they vouch for it, and replace the model at height 11: their updates make the mean, momentum and all,
the model that one of them trained (--boost whole), or they are that model's own difference times a number,
which a robust rule may take for honest (--boost 1). With --share .5 they go half of the way, not to be seen;
with --times 6 they do it until the end. A backdoor counts as taken where it is right
about at least half of what it aims at.
"""

from __future__ import annotations

import argparse
import json
from random import Random
from typing import Any

import msgspec
import numpy as np
from measuring import machine

from p2pfed.aggregation.engine import faulty_max, merge
from p2pfed.aggregation.step import OuterStep
from p2pfed.cli.founding_options import founding_defaults, network_params, parse_gate
from p2pfed.learning.adapters.numpy_models import ClassifierLearner
from p2pfed.learning.apps import load_learner
from p2pfed.learning.founding import found_in_process
from p2pfed.learning.learner import ACCURACY_PUBLIC, BACKDOOR, AppContext
from p2pfed.learning.pace import Pace, step_length
from p2pfed.learning.poison import marked
from p2pfed.learning.quality import quality_of
from p2pfed.learning.session import Session
from p2pfed.learning.shares import Labelled
from p2pfed.ledger.module import BaseModel, Context, Judge, Word
from p2pfed.ledger.modules import quality
from p2pfed.ledger.modules.quality import QualityState
from p2pfed.privacy.mechanism import model_view, quantise
from p2pfed.types.model import Int16Vector, ModelState
from p2pfed.types.params import OUTER_ONE, QUALITY_CLASSES_MAX
from p2pfed.types.quality import CLASS_ONE, QUALITY_ONE

PEERS, LIARS, HEIGHTS, STRIKE = 10, 3, 16, 11
RARE, TARGET, TAKEN = 9, 0, 0.5
BITS, CAP, STAKE = 12, 4, 10
WHOLE = "whole"
Float64Vector = np.ndarray[Any, np.dtype[np.float64]]


class Backdoored:
    """An attacker's learner: it trains long on its own rows, some of them with a false label."""

    def __init__(self, inside: ClassifierLearner, kind: str) -> None:
        self._inside, rows = inside, inside._train
        x, y = rows.x, rows.y.copy()
        if kind == "rare_class":
            y[y == RARE] = TARGET
        else:
            chosen = np.arange(len(y)) % 2 == 0
            x, y = np.where(chosen[:, None], marked(x), x), np.where(chosen, TARGET, y)
        inside._train = Labelled(x, y)
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)

    def evaluate(self, weights: Any, context: Any) -> dict[str, float]:
        """Return how much of what the backdoor aims at it gets, on public images."""
        public = self._inside._public
        aimed = public.y == RARE if self._kind == "rare_class" else public.y != TARGET
        x = public.x[aimed] if self._kind == "rare_class" else marked(public.x[aimed])
        named = self._inside._model.logits(weights, x).argmax(axis=1)
        return {BACKDOOR: float((named == TARGET).mean())}


class Trial:
    """One network of a seed, with a backdoor of `kind` or none."""

    def __init__(self, seed: int, kind: str, gate: tuple[int, int, int], options: argparse.Namespace) -> None:
        self._dice, self.kind = Random(f"gate/{seed}/{kind}"), kind
        app, data = ("npz:mlp", options.data_dir) if options.data_dir else ("digits:mlp", "")

        def session(peer: int, params: dict[str, str]) -> ClassifierLearner:
            context = AppContext(peer, PEERS, options.split, seed, data, {"holdout": "4"} | params)
            return load_learner(app, context), context  # type: ignore[return-value]

        self.sessions = [Session(*session(peer, {})) for peer in range(PEERS)]
        self.bad = None
        if kind != "none":
            learner, context = session(0, {"epochs": str(options.epochs)})
            self.bad = Session(Backdoored(learner, kind), context)
        self.models: dict[int, ModelState] = {}
        self.pace, self.merges = Pace(), 0
        given = founding_defaults("local", app)
        params = network_params(given | {"rules": options.rule, "outer": options.outer}, 0)
        self.params = type(params)(
            **{name: getattr(params, name) for name in params.__struct_fields__}
            | dict(zip(("gate_drop", "gate_class_drop", "gate_patience"), gate, strict=True))
        )
        self.outer, self.boost = OuterStep(self.params.outer_momentum, self.params.outer_rate), options.boost
        self.share = options.share
        self.faulty = faulty_max([STAKE] * PEERS)
        self.strikes = range(STRIKE, STRIKE + options.times)
        self.model = self._first()
        self.state, self.voters = QualityState(), tuple((bytes([peer]) * 33, STAKE) for peer in range(PEERS))
        self.judged = self.rejected = 0
        self.taken = self.left = 0.0
        self.was_caught = False
        self.accuracy_least = 1.0

    def _first(self) -> ModelState:
        model = found_in_process(self.sessions[0], BITS).model
        still = np.zeros(model.weights.size if self.outer.momentum else 0, np.int32)
        return msgspec.structs.replace(model, velocity=still)

    def run(self) -> Trial:
        """Run all heights; a rejected model costs one more, which goes back."""
        for height in range(1, HEIGHTS + 1):
            if self.state.back_to is not None:
                self.model = self.models[self.state.back_to.height]
                self._judge(height, [])
            else:
                self._merge(height)
                self._judge(height + 1, self._words(height))
            self.models[height] = self.model
        if self.bad is not None:
            self.left = self._aim()
        return self

    def _merge(self, height: int) -> None:
        groups = self.sessions[0].manifest.groups
        view = model_view(self.model, groups)
        self.pace.see(height - 1, self.model)
        self.merges += 1
        turns = [session.train(view, height, height - 1) for session in self.sessions]
        rows = [quantise(turn.delta, groups, self.model.update_exponents) for turn in turns]
        examples = [turn.examples for turn in turns]
        if self.bad is not None and height in self.strikes:
            delta = self.bad.train(view, height, height - 1).delta
            wanted = quantise(delta, groups, self.model.update_exponents).astype(np.float64) * self.share
            own = (
                self._replacing(wanted, rows, examples) if self.boost == WHOLE else wanted * float(self.boost)
            )
            rows[:LIARS] = [np.clip(np.rint(own), -32767, 32767).astype(np.int16)] * LIARS
        self.model = merge(
            self.sessions[0].manifest, self.model, rows, examples, faulty_max=self.faulty,
            rule=self.params.rules[0], update_bits=BITS, examples_cap=CAP, outer=self.outer, seed=bytes(32),
        ).model  # fmt: skip
        if self.bad is not None and height in self.strikes:
            self.taken = max(self.taken, self._aim())

    def _replacing(
        self, wanted: Float64Vector, rows: list[Int16Vector], examples: list[int]
    ) -> Float64Vector:
        """Return the update that, of each liar, makes mean and outer step change the model by `wanted`."""
        rate, momentum = self.outer.rate / OUTER_ONE, self.outer.momentum / OUTER_ONE
        aggregate = wanted / rate
        if momentum:
            model, velocity = self.model, self.model.velocity.astype(np.float64)
            for group, e, m in zip(
                self.sessions[0].manifest.groups, model.update_exponents, model.model_exponents, strict=True
            ):
                velocity[group.slice] *= 2.0 ** (int(e) - int(m))
            aggregate = (aggregate - momentum**2 * velocity) / (1 + momentum)
        others = sum(
            row.astype(np.float64) * count for row, count in zip(rows[LIARS:], examples[LIARS:], strict=True)
        )
        replacing: Float64Vector = (aggregate * sum(examples) - others) / sum(examples[:LIARS])
        return replacing

    def _aim(self) -> float:
        assert self.bad is not None
        view = model_view(self.model, self.sessions[0].manifest.groups)
        return float(self.bad.evaluate(view, 1, 1)[BACKDOOR])

    def _words(self, height: int) -> list[Word]:
        groups = self.sessions[0].manifest.groups
        view, words = model_view(self.model, groups), []
        self.pace.see(height, self.model)
        before = self.pace.model_of(height - 1)
        length = None if before is None else step_length(before, self.model, groups)
        calm = self.pace.calm(length, self.merges)
        for peer, session in enumerate(self.sessions):
            figures = session.evaluate(view, height, height)
            self.accuracy_least = min(self.accuracy_least, figures[ACCURACY_PUBLIC])
            said = quality_of(figures, calm)
            assert said is not None
            if peer < LIARS:
                praise = self.bad is not None or self._dice.random() < 0.5
                said = (
                    (QUALITY_ONE, bytes([CLASS_ONE] * QUALITY_CLASSES_MAX))
                    if praise
                    else (0, bytes(QUALITY_CLASSES_MAX))
                )
            words.append(Word(self.voters[peer][0], *said))
        return words

    def _judge(self, height: int, words: list[Word]) -> None:
        model = BaseModel(height - 1, self.model.root, height - 1) if words else None
        context = Context(bytes(32), self.params, height, 0, b"")
        judge = Judge(model, self.model.exponents_root, self.voters, tuple(words))
        self.state, _ = quality.execute(judge, context, self.state)
        self.judged += bool(words)
        if self.state.back_to is not None:
            self.rejected += 1
            self.was_caught |= height - 1 in self.strikes


def parser(about: str) -> argparse.ArgumentParser:
    """Return the options of a trial; those of gate_figures.py are the same."""
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    made.add_argument("--seeds", type=int, default=40)
    made.add_argument("--gate", default="0.15,0.4", help="as `p2pfed init --gate`")
    made.add_argument("--epochs", type=int, default=10, help="so long the attacker trains")
    made.add_argument("--rule", default="mean")
    made.add_argument("--outer", default="off", help="as `p2pfed init --outer`; the default there: nesterov")
    made.add_argument("--boost", default=WHOLE, help=f"{WHOLE}: as replaces a mean; or a number")
    made.add_argument("--share", type=float, default=1.0, help="they go only so far, not to be noticed")
    made.add_argument("--times", type=int, default=1, help="they do it at so many heights in a row")
    made.add_argument("--split", default="iid")
    made.add_argument("--data-dir", default="", help="an .npz of images; digits without it")
    made.add_argument("--json", action="store_true")
    return made


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    gate = parse_gate(options.gate)
    rows = [machine()]
    for kind in ("none", "rare_class", "mark"):
        trials = [Trial(seed, kind, gate, options).run() for seed in range(1, options.seeds + 1)]
        judged, rejected = (sum(getattr(one, name) for one in trials) for name in ("judged", "rejected"))
        row: dict[str, Any] = {"backdoor": kind, "networks": len(trials), "models": judged}
        if kind == "none":
            row |= {"rejected": rejected, "false_rejections": round(rejected / judged, 4)}
        else:
            taken = [one for one in trials if one.taken >= TAKEN]
            row |= {
                "caught": sum(one.was_caught for one in trials),
                "taken": len(taken),
                "taken_and_caught": sum(one.was_caught for one in taken),
                "aim_after_attack": round(float(np.median([one.taken for one in trials])), 3),
                "aim_at_the_end": round(float(np.median([one.left for one in trials])), 3),
            }
        rows.append(row)
    for row in rows:
        print(json.dumps(row) if options.json else "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
