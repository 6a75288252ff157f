"""Cores of agreement under faults and liars: a small fixed campaign, its figures, one seed one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from support.pages import json_keys

from p2pfed.cli.lab_sim import repeat_line, sim
from p2pfed.consensus import machine
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.io import Output
from p2pfed.errors import UsageError
from p2pfed.sim.cores import campaign
from p2pfed.sim.cores.campaign import Plan, Tally, run_campaign, run_chunk, shrink
from p2pfed.sim.cores.oracle import CHAIN_ID, SignatureOracle, committee
from p2pfed.sim.cores.schedule import FAULTS, LIARS, Fault, Schedule, draw, keep
from p2pfed.sim.cores.transcript import Transcript
from p2pfed.sim.cores.world import Outcome, World, run
from p2pfed.types.vote import Precommit, Prevote


@pytest.fixture(scope="module")
def safe() -> Tally:
    return run_campaign(Plan(schedules=200, seed=1))


def test_below_a_third_nobody_disagrees_nobody_is_framed_and_all_is_decided(safe: Tally) -> None:
    assert (safe.failures, safe.violations, safe.undecided, safe.forks, safe.framed) == ([], 0, 0, 0, 0)


def test_the_schedules_are_bad_enough_to_show_something(safe: Tally) -> None:
    assert safe.schedules == 200
    assert safe.faulted >= 180
    assert safe.reached_round_1 >= 60
    assert safe.moved_a_lock >= 20
    assert safe.changed_a_lock >= 10
    assert set(safe.fired) == set(FAULTS)
    assert set(safe.liars) == set(LIARS)


def test_with_half_of_liars_every_fork_convicts_both_and_frames_nobody() -> None:
    sums = run_campaign(Plan(byzantine=2, schedules=100, seed=1))
    assert (sums.failures, sums.framed, sums.unconvicted) == ([], 0, 0)
    assert sums.forks >= 20
    assert sums.amnesic >= 3  # Nobody voted twice: only the amnesia proof convicts a third.
    assert sums.accused_power_min == 2


def test_more_cores_agree_too() -> None:
    sums = run_campaign(Plan(peers=7, byzantine=2, schedules=15, seed=1))
    assert (sums.failures, sums.undecided) == ([], 0)


def test_honest_cores_alone_decide() -> None:
    sums = run_campaign(Plan(peers=4, byzantine=0, schedules=20, seed=1))
    assert (sums.failures, sums.undecided) == ([], 0)


def test_one_seed_gives_one_run_in_any_process() -> None:
    code = "from p2pfed.sim.cores.campaign import *; print(run_chunk(Plan(), 5, 8).trace.hex())"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert traces == {run_chunk(Plan(), 5, 8).trace.hex() + "\n"}


def test_rules_that_are_offered_everything_after_every_input_give_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine asks only where a fact changed, and only with facts that a step can use."""
    plan = Plan(seed=700)
    quick = run_chunk(plan, plan.seed, 30).trace

    def facts(engine: Engine) -> Iterator[machine.Event]:
        round_, votes, verdicts = engine.round, engine._votes, engine._verdicts
        message = engine._proposals.get(round_)
        if message is not None:
            yield engine._proposal_fact(message)
        if votes.has_quorum_of_any(Prevote, round_):
            yield machine.PrevotesSeen()
        if message is not None and verdicts.get(message.proposal.value_id) is True:
            cert = votes.polka(round_, message.proposal.value_id, message.proposal.valid_round)
            if cert is not None:
                yield machine.PolkaSeen(cert, message.header)
        for cert in votes.polkas:
            if verdicts.get(cert.value_id) is True and cert.value_id in engine._headers:
                yield machine.LatePolkaSeen(cert)
        if votes.has_nil_polka(round_):
            yield machine.NilPolkaSeen()
        if votes.has_quorum_of_any(Precommit, round_):
            yield machine.PrecommitsSeen()
        for commit in votes.commits:
            yield machine.CommitSeen(commit, verdicts.get(commit.value_id))
        ahead = votes.round_ahead(round_)
        if ahead is not None:
            yield machine.RoundAhead(ahead)

    def run_rules(engine: Engine, outputs: list[Output]) -> None:
        while any(engine._apply(fact, outputs) for fact in facts(engine)):
            pass

    monkeypatch.setattr(Engine, "_run_rules", run_rules)
    assert run_chunk(plan, plan.seed, 30).trace == quick


def test_a_witness_changes_nothing() -> None:
    schedule, witness = draw(3, 4, 1), Transcript()
    assert run(schedule, witness) == run(schedule)
    assert any("decides" in line for line in witness.lines)


def test_two_thirds_of_liars_are_refused() -> None:
    with pytest.raises(UsageError, match="4 liars of 6"):
        draw(1, 6, 4)


def test_a_fault_that_is_not_there_cannot_be_kept() -> None:
    with pytest.raises(UsageError, match="faults 0 to"):
        keep(draw(1, 4, 1), (9,))


def test_an_oracle_signature_is_for_one_key_and_one_message() -> None:
    _, keys = committee((1, 1))
    oracle = SignatureOracle(keys)
    unsigned = Prevote(1, 0, None, -1, 0, bytes(64))
    vote = Prevote(1, 0, None, -1, 0, keys[0].sign(unsigned.digest(CHAIN_ID)))
    other = Prevote(1, 1, None, -1, 0, vote.signature)
    assert oracle.is_signed_by(vote, keys[0].public, CHAIN_ID)
    assert not oracle.is_signed_by(vote, keys[1].public, CHAIN_ID)
    assert not oracle.is_signed_by(other, keys[0].public, CHAIN_ID)
    assert not oracle.is_signed_by(unsigned, keys[0].public, CHAIN_ID)


def test_a_schedule_shrinks_to_the_faults_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = next(one for one in (draw(seed, 4, 1) for seed in range(99)) if len(one.faults) == 4)
    culprit = schedule.faults[2]
    monkeypatch.setattr(campaign, "is_bad", lambda smaller, outcome: culprit in smaller.faults)
    assert shrink(schedule) == (2,)


def invoke(*arguments: str):
    return CliRunner().invoke(sim, arguments)


def test_a_campaign_prints_its_figures() -> None:
    outcome = invoke("--schedules", "5", "--seed", "7", "--faults", "crash,partition", "--json")
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    assert report["schema"] == "p2pfed.lab-sim/1"
    assert set(report) == json_keys("p2pfed.lab-sim/1")
    assert (report["schedules"], report["violations"], report["accused_share_min"]) == (5, 0, None)
    assert set(report["fired"]) <= {"crash", "partition"}
    assert report["schedules_per_minute"] > 0
    assert len(report["trace_hash"]) == 64


def test_two_processes_give_the_trace_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(schedules=6, seed=40)
    monkeypatch.setattr(campaign, "CHUNK", 3)
    assert run_campaign(plan, workers=2).trace == run_campaign(plan, workers=1).trace


def test_an_interrupted_campaign_is_that_of_a_smaller_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "CHUNK", 2)
    whole = run_campaign(Plan(schedules=4, seed=40))

    def run_until(plan: Plan, first: int, count: int) -> Tally:
        if first >= 44:
            raise KeyboardInterrupt
        return run_chunk(plan, first, count)

    monkeypatch.setattr(campaign, "run_chunk", run_until)
    part = run_campaign(Plan(schedules=10, seed=40))
    assert (part.schedules, part.trace) == (4, whole.trace)
    outcome = invoke("--schedules", "10", "--seed", "40", "--workers", "1", "--json")
    assert outcome.exit_code == 130
    assert outcome.stderr == "stopped after 4 of 10 schedules; go on with --seed 44 --schedules 6\n"
    assert json.loads(outcome.stdout)["schedules"] == 4


def test_a_campaign_that_was_stopped_at_once_prints_zeroes(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(plan: Plan, first: int, count: int) -> Tally:
        raise KeyboardInterrupt

    monkeypatch.setattr(campaign, "run_chunk", stop)
    assert json.loads(invoke("--workers", "1", "--json").stdout)["round_1_share"] == 0


def test_a_hidden_polka_locks_one_core_and_then_it_locks_another_value() -> None:
    plots = [one for one in (draw(seed, 4, 1) for seed in range(1, 200)) if one.liars[0][1] == "hider"]
    hidden = [one for one in plots if [fault.kind for fault in one.faults] == ["mute"]]
    assert len(hidden) >= 3
    assert sum(run(one).locks_changed > 0 for one in hidden) * 2 >= len(hidden)


def test_a_core_that_has_every_height_only_answers() -> None:
    """Else the others of a core that sleeps for long decide height after height."""
    world = World(Schedule(1, 4, (), (Fault("pause", 0, 5_000, (0,)),), 5_000))
    world.run()
    assert [len(core.commits) for core in world.cores] == [3, 3, 3, 3]


def test_a_broken_promise_is_an_exit_code_a_line_to_repeat_it_and_a_transcript(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Outcome(9, ("core 1: a fork",), 0, 1, None, None, (), 0, 0, 0, (0,), 1, 1, bytes(32))
    monkeypatch.setattr(campaign, "run", lambda schedule: broken)
    outcome = invoke("--schedules", "1", "--seed", "9")
    assert outcome.exit_code == 1
    assert "seed 9: core 1: a fork" in outcome.stderr
    assert "p2pfed lab sim --peers 4 --byzantine 1 --replay 9 --keep -" in outcome.stderr
    assert "decides" in outcome.stderr


def test_a_replay_tells_the_schedule_and_what_happened() -> None:
    outcome = invoke("--replay", "3", "--keep", "0")
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("seed 3: 4 cores, liars: ")
    assert lines[1].startswith("fault 0: ")
    assert lines[-1].startswith("trace ")


def test_a_line_to_repeat_names_the_faults_that_were_drawn_from() -> None:
    line = repeat_line(Plan(kinds=("loss", "crash")), 5, (0, 2))
    assert line.endswith("--faults loss,crash --replay 5 --keep 0,2")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--faults", "rain"), "no fault is called 'rain'"),
        (("--keep", "1"), "--keep goes with --replay"),
        (("--replay", "1", "--keep", "x"), "--keep takes numbers of faults"),
        (("--replay", "1", "--keep", "-1"), "numbered from 0"),
        (("--byzantine", "3"), "3 liars of 4 peers"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError)
    assert sentence in str(error)
