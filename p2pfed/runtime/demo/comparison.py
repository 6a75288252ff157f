"""The same learners, seeds and kernels in one process, merged by the plain mean: what a network without
robust aggregation would have got.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p2pfed.adversary import values
from p2pfed.adversary.registry import verify_spec
from p2pfed.learning.apps import load_learner
from p2pfed.learning.inprocess import InProcessRun, Lie, train_in_process
from p2pfed.learning.learner import AppContext
from p2pfed.learning.session import Session
from p2pfed.runtime.config import LearnerConfig
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector, ModelState

LEFT_OUT = ("garbage_payload", "wrong_shape", "withheld_payload", "bad_chunks", "silent")


def train_with_mean(
    genesis: Genesis, model: ModelState, learner: LearnerConfig, byzantine: Sequence[str], heights: int
) -> InProcessRun:
    """Train all peers of a network in this process with the rule `mean`.

    Args:
        genesis: Of the real network: its numbers are used.
        model: Its initial model.
        learner: The learner; each peer gets its own share of the data.
        byzantine: One kind for each of the last peers; "" lets it train honestly. A liar that a real peer
            would refuse by form (wrong shape, withheld) is left out, as the mean never saw it.
        heights: How many turns.
    """
    sending = [kind for kind in byzantine if not _is_left_out(kind)]
    count = learner.peers - len(byzantine)
    indices = [
        *range(count),
        *(count + place for place, kind in enumerate(byzantine) if not _is_left_out(kind)),
    ]
    sessions = [_session(learner, index) for index in indices]
    return train_in_process(
        sessions,
        model,
        heights=heights,
        rule="mean",
        faulty_max=0,
        update_bits=genesis.params.update_bits,
        examples_cap=genesis.params.examples_cap,
        liars=range(count, count + len(sending)),
        lie=_lie(sending, learner.seed) if any(map(_is_value_lie, sending)) else None,
    )


def _session(learner: LearnerConfig, index: int) -> Session:
    context = AppContext(
        index, learner.peers, learner.partition, learner.seed, learner.data_dir, learner.params
    )
    return Session(load_learner(learner.app, context), context)


def _is_value_lie(kind: str) -> bool:
    return kind.partition(":")[0] in ("sign_flip", "alie", "noise", "huge_norm")


def _is_left_out(kind: str) -> bool:
    return kind.partition(":")[0] in LEFT_OUT


def _lie(kinds: Sequence[str], seed: int) -> Lie:
    """Return how the liars of one height lie; they all do what the first of them does."""
    name, settings = verify_spec(next(kind for kind in kinds if _is_value_lie(kind)))

    def lie(height: int, honest: Sequence[Int16Vector], own: Int16Vector) -> Int16Vector:
        match name:
            case "sign_flip":
                return values.sign_flip(own, settings["scale"])
            case "alie":
                return values.alie(honest, settings["z"])
            case "noise":
                return values.noise(
                    own, settings["scale"], np.random.default_rng([seed, height, int(own[0]) & 0xFF])
                )
            case _:
                return values.huge(own)

    return lie
