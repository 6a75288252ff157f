"""Payloads are measured as they come; what is handed out is what a merge would find by itself, or nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.tiny_chain import genesis, steps

from p2pfed.aggregation.gram import gram
from p2pfed.runtime import measuring
from p2pfed.runtime.measuring import Measuring
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector
from p2pfed.types.update import UpdateHeader


def with_rules(*rules: str) -> Genesis:
    return msgspec.structs.replace(genesis(), params=msgspec.structs.replace(genesis().params, rules=rules))


class Payloads:
    """Draws the payload of each update from its id; counts who asked."""

    def __init__(self) -> None:
        self.loaded: list[bytes] = []

    def __call__(self, header: UpdateHeader) -> Int16Vector:
        self.loaded.append(header.update_id)
        seed = int.from_bytes(header.update_id[:4], "big")
        return np.random.default_rng(seed).integers(-900, 900, genesis().manifest.size).astype(np.int16)


def headers(height: int) -> tuple[UpdateHeader, ...]:
    return tuple(sorted(steps(2)[height - 1].block.body.updates, key=lambda header: header.trainer))


def expected(these: tuple[UpdateHeader, ...]) -> list[list[list[int]]]:
    rows = [Payloads()(header) for header in these]
    return [gram([row[group.slice] for row in rows]) for group in genesis().manifest.groups]


def measured(keeper: Measuring, these: tuple[UpdateHeader, ...]) -> list[list[list[int]]] | None:
    tables = keeper.products(these)
    return None if tables is None else [table.tolist() for table in tables]


def test_what_came_is_loaded_once_and_what_did_not_come_is_measured_when_asked() -> None:
    payloads, these = Payloads(), headers(1)
    keeper = Measuring(with_rules("krum"), payloads, map)
    for header in these[:2]:
        keeper.expect(header)
        assert keeper.came(header.update_id)
        assert not keeper.came(header.update_id)
    keeper.work()
    assert payloads.loaded == [header.update_id for header in these[:2]]
    assert measured(keeper, these) == expected(these)
    assert [keeper.row(header).tolist() for header in these] == [Payloads()(h).tolist() for h in these]
    assert sorted(payloads.loaded) == sorted(header.update_id for header in these)


def test_a_payload_that_nobody_expected_or_whose_height_has_passed_is_no_work() -> None:
    keeper = Measuring(with_rules("krum"), Payloads(), map)
    assert not keeper.came(headers(1)[0].update_id)
    keeper.expect(headers(1)[0])
    keeper.expect(headers(2)[0])
    keeper.passed(1)
    assert not keeper.came(headers(1)[0].update_id)
    assert keeper.came(headers(2)[0].update_id)


def test_newer_updates_take_the_place_of_older_ones_and_a_mix_is_left_to_the_merge() -> None:
    payloads = Payloads()
    keeper = Measuring(with_rules("clip+krum"), payloads, map)
    assert measured(keeper, headers(1)) == expected(headers(1))
    assert measured(keeper, headers(2)) == expected(headers(2))
    assert keeper.products(headers(1)) is None
    assert keeper.products((headers(1)[0], headers(2)[1])) is None
    payloads.loaded.clear()
    assert keeper.row(headers(1)[0]).tolist() == Payloads()(headers(1)[0]).tolist()
    assert payloads.loaded == [headers(1)[0].update_id]


def test_payloads_beyond_the_limit_are_left_to_the_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "KEPT_BYTES_MAX", 2 * 16)
    payloads, these = Payloads(), headers(1)
    keeper = Measuring(with_rules("krum"), payloads, map)
    assert keeper.products(these) is None
    assert len(payloads.loaded) == 2
    assert measured(keeper, these[:2]) == expected(these[:2])


def test_where_updates_are_paid_they_are_measured_whatever_the_rule() -> None:
    payloads = Payloads()
    genesis = with_rules("mean")
    paying = msgspec.structs.replace(genesis, params=msgspec.structs.replace(genesis.params, emission=9))
    assert measured(Measuring(paying, payloads, map), headers(1)) == expected(headers(1))


def test_where_no_rule_looks_at_products_nothing_is_kept() -> None:
    payloads = Payloads()
    keeper = Measuring(with_rules("trimmed_mean", "mean"), payloads, map)
    keeper.expect(headers(1)[0])
    assert not keeper.came(headers(1)[0].update_id)
    assert keeper.products(headers(1)) is None
    assert payloads.loaded == []
