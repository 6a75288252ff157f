"""Networks drawn from a seed are safe, are spelled as files, and reach their end."""

from __future__ import annotations

import msgspec
from click.testing import CliRunner

from p2pfed.cli.lab_network import network
from p2pfed.cli.lab_processes import verify_playable
from p2pfed.sim.generated import generated_network
from p2pfed.sim.scenario import load_scenario
from p2pfed.sim.world import World


def test_every_network_is_safe_and_real_processes_can_play_it() -> None:
    drawn = [generated_network(seed) for seed in range(300)]
    for scenario in drawn:
        assert scenario.is_safe
        verify_playable(scenario, "drawn")
    kinds = {fault.kind for scenario in drawn for fault in scenario.faults}
    assert kinds == {"kill", "pause", "disconnect"}
    for choice in (
        [bool(scenario.topology) for scenario in drawn],
        [bool(scenario.roles) for scenario in drawn],
        [bool(scenario.byzantine) for scenario in drawn],
        [bool(scenario.evidence) for scenario in drawn],
        [scenario.height_first > 1 for scenario in drawn],
    ):
        assert 30 < sum(choice) < 270


def test_what_is_printed_is_read_back_as_the_same_network() -> None:
    printed = CliRunner().invoke(network, ["--seed", "15"])
    assert printed.exit_code == 0
    assert load_scenario(printed.output.encode(), "printed") == generated_network(15)


def test_a_peer_with_few_pipes_goes_on_after_a_conviction_left_it_less_than_a_quorum_of_them() -> None:
    scenario = msgspec.structs.replace(generated_network(2), heights=8)
    assert scenario.topology
    assert scenario.expect.convicted
    assert World(scenario).run().violations == ()
