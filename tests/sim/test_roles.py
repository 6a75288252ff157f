"""Whole peers of which some only vote and some only train: all laws hold, and trainers are convicted too."""

from __future__ import annotations

from importlib.resources import files

import pytest

from p2pfed.adversary.registry import KINDS
from p2pfed.errors import UsageError
from p2pfed.sim.scenario import Scenario, dump_scenario, load_scenario, verify_scenario
from p2pfed.sim.world import World


def test_trainers_without_a_vote_train_and_pay_while_others_vote() -> None:
    data = (files("p2pfed.sim") / "scenarios" / "roles.toml").read_bytes()
    scenario = load_scenario(data, "roles")
    assert load_scenario(dump_scenario(scenario).encode(), "again") == scenario
    world = World(scenario)
    result = world.run()
    assert result.violations == ()
    assert result.crashes == 2
    assert result.accuracy > 0.75
    state = world.honest[0].disk.recover()[0]
    voters, trainers = state.validators.validators, state.trainers
    assert len(voters) == 5
    assert len(trainers) == 7  # The liar sits out.
    assert {voter.key for voter in voters} & {*trainers} == {world.peers[4].public}


@pytest.mark.parametrize("kind", ["double_vote", "equivocating_proposer", "twins", "mutator"])
def test_a_liar_without_a_vote_lies_about_agreement_in_vain(kind: str) -> None:
    assert kind in KINDS
    scenario = Scenario(peers=6, heights=3, roles=("4:both", "2:trainer"), byzantine=(kind,))
    assert World(scenario).run().violations == ()


def test_a_fork_needs_a_third_of_the_votes_whatever_trains() -> None:
    roles = ("3:trainer", "4:validator")
    assert Scenario(peers=7, roles=roles, byzantine=("silent",)).is_safe
    assert not Scenario(peers=7, roles=roles, byzantine=("silent",) * 2).is_safe
    assert Scenario(peers=7, roles=roles[::-1], byzantine=("silent",) * 3).is_safe


@pytest.mark.parametrize(("role", "text"), [("trainer", "nobody votes"), ("validator", "nobody trains")])
def test_a_network_without_votes_or_updates_is_refused(role: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        verify_scenario(Scenario(peers=3, roles=(f"3:{role}",)), "here")
