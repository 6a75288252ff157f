"""Train learners in one process with the network's integers and rules: what an adapter must stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2pfed.learning.apps import load_learner
from p2pfed.learning.founding import found_in_process
from p2pfed.learning.inprocess import InProcessRun, train_in_process
from p2pfed.learning.learner import AppContext
from p2pfed.learning.session import Session


def sessions(app: str | Callable[[AppContext], Any], peers: int, **context: Any) -> list[Session]:
    """Return a learner for each peer, held to its contract."""
    contexts = [AppContext(index, peers, **context) for index in range(peers)]
    return [Session(load_learner(app, one) if isinstance(app, str) else app(one), one) for one in contexts]


def trained(trainers: list[Session], heights: int, rule: str = "mean", faulty_max: int = 0) -> InProcessRun:
    """Return what becomes of `heights` heights."""
    model = found_in_process(trainers[0], 12).model
    return train_in_process(
        trainers, model, heights=heights, rule=rule, faulty_max=faulty_max, update_bits=12, examples_cap=0,
    )  # fmt: skip
