"""Leave one out and Shapley values of a stored block, with a measure whose values are known."""

from __future__ import annotations

import asyncio
from itertools import permutations

import numpy as np
import pytest
from support.tiny_chain import EMPTY_HEIGHT, make_home, steps

from p2pfed.aggregation.payload import decode_payload
from p2pfed.errors import LocalError
from p2pfed.learning.learner import Metrics
from p2pfed.runtime.contribution_audit import Audit, audit_contribution
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.home import Home
from p2pfed.storage.store import Store
from p2pfed.types.model import ModelState

HEIGHT = 2
ROUNDING = 2.0**-16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    home = Home(tmp_path_factory.mktemp("audit") / "peer")
    make_home(home, 5)
    return Store(home, read_genesis(home), read_only=True)


async def first_weight(model: ModelState) -> Metrics:
    """Measure a model by its first weight: a measure that can be added up by hand."""
    return {"acc(public)": float(model.weights[0]) * 2.0 ** -int(model.model_exponents[0])}


def run(store: Store, height: int = HEIGHT, orders: int = 200) -> Audit:
    return asyncio.run(audit_contribution(store, height, first_weight, orders=orders, seed=1))


def test_leave_one_out_is_what_the_measure_loses_without_an_update(store: Store) -> None:
    found, values = run(store, orders=1), _values(store)
    whole = sum(sorted(values)[1:-1]) / 2  # The trimmed mean of four, f = 1.
    assert found.after - found.before == pytest.approx(whole, abs=ROUNDING)
    for value, worth in zip(values, found.worth, strict=True):
        # Of three, f = 0: nothing is trimmed.
        assert worth.leave_one_out == pytest.approx(whole - (sum(values) - value) / 3, abs=ROUNDING)
        assert worth.score is None


def test_shapley_values_add_up_to_what_all_updates_changed_and_are_near_the_exact_ones(store: Store) -> None:
    found = run(store, orders=400)
    total = sum(worth.shapley for worth in found.worth)
    spread = abs(found.after - found.before)
    assert total == pytest.approx(found.after - found.before, abs=0.02 * spread + ROUNDING)
    exact = _exact(_values(store))
    for worth, value in zip(found.worth, exact, strict=True):
        assert worth.shapley == pytest.approx(value, abs=0.25 * max(map(abs, exact)))


def test_the_same_seed_gives_the_same_values_and_progress_reaches_the_end(store: Store) -> None:
    told: list[int] = []
    again = asyncio.run(
        audit_contribution(store, HEIGHT, first_weight, orders=200, seed=1, step_to=told.append)
    )
    assert again == run(store)
    assert told == sorted(told)
    assert told[-1] == 201 * 4


def test_what_can_not_be_judged_is_refused_in_one_sentence(store: Store) -> None:
    with pytest.raises(LocalError, match="there is no block 77; the heights are 1 to 5"):
        run(store, 77)
    with pytest.raises(LocalError, match="is empty"):
        run(store, EMPTY_HEIGHT)

    async def blind(_model: ModelState) -> Metrics:
        return {"f1": 1.0}

    with pytest.raises(LocalError, match="f1"):
        asyncio.run(audit_contribution(store, HEIGHT, blind, orders=1, seed=0))


def _values(store: Store) -> list[float]:
    """Return what each update of HEIGHT says of the first weight, in the order of the update set."""
    block, before = store.chain.block(HEIGHT), steps(HEIGHT)[HEIGHT - 2].state
    assert block is not None
    assert before.model is not None
    unit = 2.0 ** -int(before.model.update_exponents[0])
    updates = sorted(block.body.updates, key=lambda update: update.trainer)
    payloads = [store.blobs.load(update.payload_root) or b"" for update in updates]
    return [unit * int(decode_payload(data, store.genesis.manifest)[0]) for data in payloads]


def _exact(values: list[float]) -> list[float]:
    """Return the Shapley values over every order of four updates, by the rules that hold for each set."""

    def merged(members: tuple[int, ...]) -> float:
        some = sorted(values[place] for place in members)
        return float(np.mean(some[1:-1] if len(some) == 4 else some)) if some else 0.0

    sums = [0.0] * 4
    orders = list(permutations(range(4)))
    for order in orders:
        for place, member in enumerate(order):
            sums[member] += merged(order[: place + 1]) - merged(order[:place])
    return [value / len(orders) for value in sums]
