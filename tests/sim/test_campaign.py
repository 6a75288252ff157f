"""`lab run` and `lab list`: what they print, and how a broken law is told, shrunk and repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from support.pages import guide, section

from p2pfed.cli.main import cli
from p2pfed.errors import UsageError
from p2pfed.node.facts import EvidenceFound
from p2pfed.sim import campaign
from p2pfed.sim.campaign import builtin_names, find_scenario, shrink
from p2pfed.sim.expect import Expect
from p2pfed.sim.faults import FAULT_KINDS, Fault
from p2pfed.sim.scenario import Crash, Scenario, dump_scenario, keep, load_scenario
from p2pfed.sim.world import World, run

PAGE = section(guide("commands.md").read_text(encoding="utf-8"), "## JSON")


def invoke(*arguments: str):
    return CliRunner().invoke(cli, ["lab", *arguments])


def test_a_campaign_counts_what_happened_and_tells_no_key_that_the_page_has_not() -> None:
    outcome = invoke(
        "run", "random", "--sim", "--schedules", "2", "--heights", "2", "--byzantine", "alie", "--json"
    )
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    assert (report["schedules"], report["violations"], report["blocks"]) == (2, 0, 4)
    assert report["byzantine"] == ["alie"]
    assert report["events"] > 100 < report["messages"]
    assert 0 < report["duplicates"] < report["messages"]
    told = set(re.findall(r"`([\w.]+)`", PAGE)) | {"schema"}
    assert set(report) <= told
    row = json.loads(invoke("list", "--json").stdout.splitlines()[0])
    assert set(row) <= told


def test_a_broken_law_is_shrunk_and_told_with_the_line_that_repeats_it(tmp_path: Path) -> None:
    """Two dead of four stop the chain; the doubles beside them are not needed to show it."""
    path = tmp_path / "broken.toml"
    scenario = Scenario(
        heights=30,
        run_ms=2_000,
        faults=(
            Fault("duplicate", 0, 2_000, permille=100, amount=50),
            Fault("kill", 300, 9_000, (1, 2)),
        ),
        crashes=(Crash(3, 20, 100),),
        expect=Expect(heights=(5, 30)),
    )
    path.write_text(dump_scenario(scenario))
    assert load_scenario(path.read_bytes(), "again") == scenario
    outcome = invoke("run", str(path), "--sim", "--seed", "3")
    assert outcome.exit_code == 1
    line = f"p2pfed lab run {path} --sim --seed 3 --keep 1"
    assert f"repeat with: {line}\n" in outcome.stderr
    assert "seed 3:" in outcome.stderr
    assert "blocks are final where 5 to 30 are expected" in outcome.stderr
    again = invoke(*line.split()[2:], "--transcript")
    assert again.exit_code == 1
    assert again.stdout in outcome.stderr
    assert re.search(r"^ *\d+ peer 0 stores block 1: [0-9a-f]{6}$", again.stdout, re.M)
    assert "fault 0: kill from 300 to 9000 ms, peers [1, 2]" in again.stdout


def test_no_fault_that_is_needed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(faults=tuple(Fault("pause", 1, 2 + number, (0,)) for number in range(5)))

    class Outcome:
        def __init__(self, run: Scenario) -> None:
            ends = {fault.until_ms for fault in run.faults}
            self.violations = ("both",) if {3, 6} <= ends else ()

    monkeypatch.setattr(campaign, "run", Outcome)
    assert shrink(scenario) == (1, 4)


def test_an_exception_of_ours_names_the_seed_and_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: World) -> None:
        raise AssertionError("our own bug")

    monkeypatch.setattr(World, "run", broken)
    outcome = invoke("run", "random", "--sim", "--seed", "17")
    assert isinstance(outcome.exception, AssertionError)
    assert outcome.exception.__notes__ == ["seed 17; repeat with: p2pfed lab run random --sim --seed 17"]


def test_every_built_in_scenario_is_listed_and_all_kinds_of_faults_are_among_them() -> None:
    names = builtin_names()
    listed = invoke("list").stdout
    assert all(re.search(rf"^ *{name} +[A-Z].*\.$", listed, re.M) for name in names)
    kinds = {fault.kind for name in names for fault in find_scenario(name).faults}
    assert kinds == {*FAULT_KINDS} - {"slow", "reorder"}  # These are drawn by `random`.


@pytest.mark.parametrize("name", ["two-thirds", "one-unit-more", "old-image", "full-disk"])
def test_a_built_in_scenario_comes_out_as_it_expects(name: str) -> None:
    outcome = invoke("run", name, "--sim")
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("lossy",), "fault 0 is a loss, which needs --sim"),
        (("good", "--sim", "--output", "here"), "without --sim"),
        (("good", "--seed", "3"), "--seed goes with --sim"),
        (("random",), "run it with --sim"),
        (("goof", "--sim"), "did you mean good"),
        (("nowhere.toml", "--sim"), "can't be read"),
        (("good", "--sim", "--heights", "3"), "go with random"),
        (("good", "--sim", "--keep", "0"), "has none"),
        (("good", "--sim", "--keep", "x"), "numbers of faults"),
        (("random", "--sim", "--byzantine", "sign_flop"), "did you mean sign_flip"),
        (("random", "--sim", "--peers", "3", "--byzantine", "alie", "--byzantine", "alie"), "nothing is pro"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(arguments: tuple[str, ...], text: str) -> None:
    outcome = invoke("run", *arguments)
    assert isinstance(outcome.exception, UsageError)
    assert re.search(text, str(outcome.exception))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("peers = 0", "peers is 0"),
        ("peer = 4", "did you mean peers?"),
        ("stakes = [1, 2]", "2 stakes for 4 peers"),
        ("stakes = [1, 2, 0, 4]", "each stake is 1 or more"),
        ("delay_ms = [5, 2]", "goes from 5 to 2"),
        ('preset = "moon"', "Invalid enum value"),
        ('byzantine = ["lier"]', "no Byzantine kind"),
        ('[[faults]]\nkind = "storm"\nuntil_ms = 1', "Invalid enum value"),
        ('[[faults]]\nkind = "loss"\nfrom_ms = 9\nuntil_ms = 8', "the end comes first"),
        ('[[faults]]\nkind = "loss"\nuntil_ms = 8\npermille = 1001', "1001 of 1000"),
        ('[[faults]]\nkind = "pause"\nuntil_ms = 8', "needs peers"),
        ('[[faults]]\nkind = "pause"\nuntil_ms = 8\npeers = [4]', "there are 0 to 3"),
        ('[[faults]]\nkind = "one_way"\nuntil_ms = 8\npeers = [1]', "from one peer to another"),
        ('[[faults]]\nkind = "bridge"\nuntil_ms = 8\npeers = [1]', "the bridge"),
        ('[[faults]]\nkind = "flapping"\nuntil_ms = 8\npeers = [1]', "amount above 0"),
        ('[[faults]]\nkind = "filter"\nuntil_ms = 8\nmessages = ["noise"]', "filters 'noise'"),
        ('[[faults]]\nkind = "filter"\nuntil_ms = 8', "needs messages"),
        ("[[crashes]]\npeer = 7\neffect = 1\ndown_ms = 1", "peers are 0 to 3"),
        ("topology = [[0, 1], [1, 0], [2, 3]]", "each pair of peers once"),
        ("topology = [[0, 1], [2, 2]]", "nobody dials itself"),
        ("topology = [[0, 1], [1, 2], [3, 4]]", "names peer 4; there are 0 to 3"),
        ("topology = [[3, 1], [0, 2]]", "no way leads from peer 0 to peer 1"),
        ("observers = 1\ntopology = [[0, 1], [1, 2], [3, 0]]", "to peer 4"),
        ("[[evidence]]\nculprit = 4\nto = 0", "members are 0 to 3"),
        ("[[evidence]]\nculprit = 0\nto = -1", "evidence against peer 0 handed to peer -1"),
        ("a = [", "file"),
        ("about = 1", "Expected `str`"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        load_scenario(text.encode(), "file")


def test_a_topology_is_all_the_pipes_there_are_and_a_lie_handed_in_convicts_its_culprit() -> None:
    scenario = find_scenario("sparse")
    assert load_scenario(dump_scenario(scenario).encode(), "again") == scenario
    world = World(scenario)
    pipes: set[frozenset[int]] = set()
    opened = world._network.open
    world._network.open = lambda *ends: (pipes.add(frozenset(ends)), opened(*ends))[1]  # type: ignore[method-assign]
    assert world.run().violations == ()
    assert pipes == {frozenset(pipe) for pipe in scenario.topology}
    told = [(number, fact.culprit) for _, number, fact in world.facts if isinstance(fact, EvidenceFound)]
    assert told[0] == (2, world.peers[4].public)
    assert {number for number, _ in told} == {0, 1, 2, 3, 4}
    wrong = msgspec.structs.replace(scenario, expect=Expect(convicted=()))
    assert run(wrong).violations == ("peers [4] are convicted where [] are expected",)


def test_parts_are_kept_by_their_numbers() -> None:
    first, second, crash = Fault("loss", 0, 5), Fault("loss", 0, 9), Crash(1, 2, 3)
    scenario = Scenario(faults=(first, second), crashes=(crash,))
    assert keep(scenario, (2, 1)).parts == (second, crash)
    with pytest.raises(UsageError, match="0 to 2"):
        keep(scenario, (3,))
