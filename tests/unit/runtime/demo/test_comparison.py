"""The comparison trains the same learners with the mean, and its liars lie as the real ones do."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import pytest

from p2pfed.learning.learner import ACCURACY_PUBLIC
from p2pfed.primitives.keys import PrivateKey
from p2pfed.runtime.config import LearnerConfig
from p2pfed.runtime.demo.comparison import train_with_mean
from p2pfed.runtime.founding import found_network
from p2pfed.types.genesis import Genesis, Params, Participant
from p2pfed.types.model import ModelState

LEARNER = LearnerConfig(app="digits:softmax", peers=4, seed=1)
HEIGHTS = 3


@lru_cache
def founded() -> tuple[Genesis, ModelState]:
    participants = [Participant(PrivateKey(bytes([seed]) * 32).public, 10, 0) for seed in range(1, 5)]
    params = Params("local", ("mean",), 1, 12, 4, HEIGHTS)
    return asyncio.run(
        found_network(LEARNER, participants, name="t", time_ms=1, transport="tcp", params=params)
    )


@lru_cache
def final(*byzantine: str) -> tuple[bytes, float]:
    genesis, model = founded()
    run = train_with_mean(genesis, model, LEARNER, byzantine, HEIGHTS)
    assert len(run.metrics) == HEIGHTS
    return run.model.root, float(run.metrics[-1][ACCURACY_PUBLIC])


def test_a_training_repeats_bit_for_bit() -> None:
    first = final()
    final.cache_clear()
    assert final() == first


def test_a_sign_flip_ruins_the_mean_and_honest_training_does_not() -> None:
    assert final()[1] > 0.8
    assert final("sign_flip:scale=8")[1] < final()[1] - 0.2


def test_each_lie_about_values_is_told() -> None:
    models = [final()[0], *(final(kind)[0] for kind in ("sign_flip", "alie", "noise", "huge_norm"))]
    assert len(set(models)) == 5


def test_a_liar_that_a_real_peer_leaves_out_is_left_out() -> None:
    left_out = {final(kind) for kind in ("silent", "wrong_shape", "garbage_payload", "withheld_payload")}
    assert len(left_out) == 1
    assert final() not in left_out


@pytest.mark.parametrize("kind", ["double_vote", "wrong_aggregate"])
def test_a_liar_about_votes_trains_honestly(kind: str) -> None:
    assert final(kind) == final()
