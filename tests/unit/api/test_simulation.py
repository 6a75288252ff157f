"""A network in one line: nodes, liars and rules are those of production."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import p2pfed
from p2pfed.errors import LocalError, UsageError
from p2pfed.learning.builtin import builtin_learner
from p2pfed.learning.learner import AppContext, LearnerError

QUICK = {"epochs": 1, "batch": 64, "lr": 0.5}


def test_liars_are_withstood_and_everything_is_told() -> None:
    told: list[object] = []
    callbacks = p2pfed.Callbacks(
        block=told.append, update_made=told.append, peer_joined=told.append, peer_suspected=told.append
    )
    run = p2pfed.simulate("digits:softmax", 4, {"double_vote": 1}, 6, params=QUICK, callbacks=callbacks)
    assert [block.height for block in run.blocks] == [1, 2, 3, 4, 5, 6]
    assert run.accuracy == run.curve()[-1] > 0.8
    assert run.violations == ()
    assert {name: array.shape for name, array in run.model.items()} == {"weight": (64, 10), "bias": (10,)}
    assert "6  " in str(run)
    assert [one for one in told if isinstance(one, p2pfed.Block)] == list(run.blocks)
    assert {type(one) for one in told} == {
        p2pfed.Block, p2pfed.UpdateMade, p2pfed.PeerJoined, p2pfed.PeerSuspected,
    }  # fmt: skip
    assert any("evidence" in one.reason for one in told if isinstance(one, p2pfed.PeerSuspected))


async def test_it_needs_no_loop_works_inside_one_and_repeats() -> None:
    first, again = (p2pfed.simulate("digits:softmax", 2, heights=2, params=QUICK) for _ in range(2))
    assert first.blocks == again.blocks
    assert all((first.model[name] == again.model[name]).all() for name in first.model)
    assert await asyncio.to_thread(p2pfed.simulate, "digits:softmax", 2, heights=1, params=QUICK)


def test_a_robust_rule_holds_where_the_mean_does_not() -> None:
    liars = {"sign_flip:scale=4": 1}
    robust, mean = (
        p2pfed.simulate("digits:softmax", 4, liars, 4, params=QUICK, rule=rule).accuracy
        for rule in ("clip_nnm_trimmed_mean", "mean")
    )
    assert robust > 0.75 > mean + 0.2


def test_a_function_makes_each_peers_learner_and_a_failed_training_costs_one_update() -> None:
    asked: list[tuple[int, int]] = []

    def learner(context: AppContext) -> Any:
        asked.append((context.index, context.peers))
        made = builtin_learner("digits", "softmax", context)
        if context.index == 3:
            made.train = lambda *_: (_ for _ in ()).throw(LearnerError("no data today"))  # type: ignore[method-assign]
        return made

    run = p2pfed.simulate(learner, 4, heights=3, params=QUICK)
    assert sorted(asked) == [(index, 4) for index in range(4)]
    assert [block.updates for block in run.blocks] == [3, 3, 3]


def test_steps_over_heights_change_the_model() -> None:
    plain, outer = (
        p2pfed.simulate("digits:softmax", 2, heights=3, params=QUICK, outer=steps).model
        for steps in (None, (0.9, 0.3))
    )
    assert not np.array_equal(plain["weight"], outer["weight"])


def test_a_bug_in_a_learner_shows_where_it_is() -> None:
    def learner(context: AppContext) -> Any:
        made = builtin_learner("digits", "softmax", context)
        made.evaluate = lambda *_: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        return made

    with pytest.raises(ZeroDivisionError):
        p2pfed.simulate(learner, 2, heights=1, params=QUICK)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"byzantine": {"sign_flop": 1}}, "did you mean sign_flip?"),
        ({"byzantine": {"sign_flip": 4}}, "4 of 4 peers would be Byzantine"),
        ({"byzantine": {"sign_flip": -1}}, "-1 peers can't lie"),
        ({"peers": 65}, "65 peers; 1 to 64 can be simulated here"),
        ({"outer": (1.0, 1.0)}, "momentum is from 0 to below 1"),
        ({"partition": "by_taste"}, "unknown partition 'by_taste'"),
        ({"params": {"lr": -1}}, "lr=-1 must be a number above 0"),
        ({"rule": "coin"}, "coin"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises((UsageError, LocalError), match=re.escape(sentence)):
        p2pfed.simulate(**({"learner": "digits:softmax", "peers": 4, "heights": 1} | given))


def test_an_example_runs_by_its_name() -> None:
    app = f"{Path(__file__).parents[3] / 'examples' / 'own_model.py'}:learner"
    assert p2pfed.simulate(app, 4, heights=4).figures["error"] < 0.15
