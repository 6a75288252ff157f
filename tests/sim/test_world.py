"""A small network in virtual time: what holds in every run, and that a seed repeats it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from msgspec.structs import replace

from p2pfed.sim.campaign import find_scenario
from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import Fault
from p2pfed.sim.scenario import Crash, Scenario, random_scenario
from p2pfed.sim.world import World, run

SIGN_FLIP = ("sign_flip:scale=4",)


def test_four_peers_on_a_good_network_agree_on_twenty_models_that_learn() -> None:
    result = run(Scenario())
    assert result.violations == ()
    assert result.heights == (20, 20, 20, 20)
    assert len(set(result.decided)) == 20
    assert result.accuracy > 0.9


@pytest.mark.parametrize("seed", range(1, 6))
def test_whatever_the_network_does_there_is_one_chain(seed: int) -> None:
    result = run(random_scenario(seed, 4, 10, SIGN_FLIP))
    assert result.violations == ()
    assert result.heights[:3] == (10, 10, 10)
    assert result.accuracy > 0.5


def test_the_same_seed_gives_the_same_trace_whatever_the_order_of_sets_and_dictionaries() -> None:
    program = (
        "from p2pfed.sim.scenario import random_scenario; from p2pfed.sim.world import run;"
        f"print(run(random_scenario(5, 4, 4, {SIGN_FLIP!r})).trace_hash)"
    )
    hashes = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True, capture_output=True, text=True,
        ).stdout
        for hash_seed in ("0", "1")
    ]  # fmt: skip
    assert hashes[0] == hashes[1]
    assert hashes[0].strip() == run(random_scenario(5, 4, 4, SIGN_FLIP)).trace_hash


def test_another_seed_gives_another_trace() -> None:
    assert run(Scenario(heights=1, seed=1)).trace_hash != run(Scenario(heights=1, seed=2)).trace_hash


def test_heights_wait_while_a_third_of_the_stake_is_away_and_go_on_when_it_returns() -> None:
    away = tuple(Crash(peer, 60, 30_000) for peer in (0, 1))
    world = World(Scenario(heights=6, crashes=away))
    result = world.run()
    assert result.violations == ()
    assert result.crashes == 2
    assert result.heights == (6, 6, 6, 6)
    assert result.virtual_ms > 30_000


def test_a_partition_stops_both_halves_and_its_end_joins_them() -> None:
    result = run(Scenario(heights=6, faults=(Fault("partition", 500, 20_000, (0, 1)),)))
    assert result.violations == ()
    assert result.heights == (6, 6, 6, 6)
    assert result.virtual_ms > 20_000


def test_a_network_that_can_not_go_on_is_reported_as_a_stall() -> None:
    result = run(Scenario(heights=1, byzantine=("silent", "silent")))
    assert len(result.violations) == 1
    assert "no progress" in result.violations[0]


def test_a_block_that_is_checked_once_for_all_gives_the_same_run() -> None:
    alone, shared = (run(Scenario(heights=3, is_shared=is_shared)) for is_shared in (False, True))
    assert alone.violations == shared.violations == ()
    assert alone.trace_hash == shared.trace_hash


def test_a_commit_follows_its_proposal_by_a_few_ways_of_the_network_however_many_peers_there_are() -> None:
    """The body is asked for from who built it: from the others it would come a round of questions later."""
    result = run(Scenario(peers=12, heights=2, mesh_degree=11, delay_ms=(100, 100), preset="wan"))
    assert result.violations == ()
    assert result.commit_ms < 6 * 100 + 50


def test_updates_of_slow_trainers_count_where_the_network_allows_it() -> None:
    scenario = find_scenario("slow-trainers")
    result = run(scenario)
    assert result.violations == ()
    assert result.older >= 8
    in_time = run(replace(scenario, update_lag=1, expect=Expect()))
    assert (in_time.violations, in_time.older) == ((), 0)


@pytest.mark.parametrize(("codec", "least"), [("int4", 0.8), ("rand_k:8", 0.5)])
def test_a_network_learns_from_updates_of_few_bytes(codec: str, least: float) -> None:
    whole, few = run(Scenario(heights=12)), run(Scenario(heights=12, codec=codec))
    assert few.violations == ()
    assert few.message_bytes < whole.message_bytes
    assert few.accuracy > least


def test_where_work_is_paid_every_peer_counts_the_same_pay_also_after_a_crash() -> None:
    result = run(find_scenario("paid"))
    assert result.violations == ()
    assert result.heights == (12,) * 7
