"""What a scenario expects is held against what came, and processes are asked for the same network."""

from __future__ import annotations

import msgspec
import pytest

from p2pfed.cli.lab_processes import plan_of, verify_playable
from p2pfed.errors import UsageError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.sim.campaign import builtin_names, find_scenario
from p2pfed.sim.expect import Came, Expect, disappointments
from p2pfed.sim.learner import DIGITS
from p2pfed.sim.scenario import Scenario, load_scenario
from p2pfed.sim.world import run

NEED_SIM = {
    "clocks", "deaf", "full-disk", "hundred-and-75", "lossy", "narrow", "old-image", "slow-trainers",
    "thousand",
}  # fmt: skip
GOOD = Came(20, 0.7, convicted={3}, refused={3}, blamed={2}, returns=2, older=4)


@pytest.mark.parametrize(
    ("expect", "sentence"),
    [
        (Expect(), ""),
        (Expect((19, 21), 0.7, (3,), (3,), (2,), 2, 4), ""),
        (Expect(heights=(21, 30)), "20 blocks are final where 21 to 30 are expected"),
        (Expect(accuracy=0.701), "accuracy 0.700 where at least 0.701 is expected"),
        (Expect(convicted=()), "peers [3] are convicted where [] are expected"),
        (Expect(refused=(2, 3)), "peers [3] are refused where [2, 3] are expected"),
        (Expect(blamed=(3,)), "peers [2] are blamed where [3] are expected"),
        (Expect(returns=3), "2 blocks go back to an older model where at least 3 are expected"),
        (Expect(older=5), "4 updates of older models count where at least 5 are expected"),
    ],
)
def test_what_was_expected_and_did_not_come_is_said_in_a_sentence(expect: Expect, sentence: str) -> None:
    assert disappointments(Scenario(expect=expect), GOOD) == ([sentence] if sentence else [])


def test_a_simulated_run_counts_whose_updates_were_refused_and_who_was_shut_out() -> None:
    scenario = Scenario(peers=7, heights=4, byzantine=("garbage_payload", "garbage_bytes"))
    assert run(with_expect(scenario, Expect(refused=(5,), blamed=(6,), convicted=(5,)))).violations == ()
    missed = run(with_expect(scenario, Expect(accuracy=0.99, refused=(), blamed=())))
    assert [text.split(" where")[0] for text in missed.violations] == [
        f"accuracy {missed.accuracy:.3f}",
        "peers [5] are refused",
        "peers [6] are blamed",
    ]


def with_expect(scenario: Scenario, expect: Expect) -> Scenario:
    return msgspec.structs.replace(scenario, expect=expect)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("heigths = 4", "a scenario has no key 'heigths'; did you mean heights?"),
        ("[expect]\nacuracy = 0.4", "expect has no key 'acuracy'; did you mean accuracy?"),
        ('[[faults]]\nkind = "loss"\nuntill_ms = 8', "faults has no key 'untill_ms'; did you mean until_ms?"),
        ("[[trainers]]\npear = 0", "trainers has no key 'pear'; did you mean peer?"),
        ("zzz = 1", "a scenario has no key 'zzz'; there are about, peers, heights,"),
        ("[expect]\naccuracy = 1.5", "expect.accuracy is 1.5; it goes from 0 to 1"),
        ("[expect]\nblamed = [4]", "expect.blamed is [4]; members are 0 to 3"),
        ("[expect]\nheights = [5, 4]", "expect.heights goes from 5 to 4"),
        ("[expect]\nreturns = -1", "expect.older and expect.returns are not negative"),
        ("outer_momentum = 65536", "outer_momentum is 65536"),
        ("expect = [1]", "Expected `object`"),
    ],
)
def test_a_misspelt_key_names_the_nearest_one(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_scenario(text.encode(), "file.toml")
    assert str(refused.value).startswith("file.toml: ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", builtin_names())
def test_processes_found_the_network_of_virtual_time_or_refuse_in_a_sentence_with_the_word_sim(
    name: str,
) -> None:
    scenario = find_scenario(name)
    if name in NEED_SIM:
        with pytest.raises(UsageError, match=rf"^{name}: [^.\n]*--sim$"):
            verify_playable(scenario, name)
        return
    verify_playable(scenario, name)
    keys = [PrivateKey(bytes([1, *divmod(number, 256)]).rjust(32, b"\1")) for number in range(scenario.peers)]
    genesis, _ = DIGITS.found(tuple(sorted(keys, key=lambda key: key.public)), scenario)
    plan = plan_of(scenario)
    assert plan.params == genesis.params
    assert plan.byzantine == scenario.byzantine
    assert plan.participants(keys) == tuple(
        msgspec.structs.replace(one, key=key.public, balance=0)
        for one, key in zip(genesis.participants, keys, strict=True)
    )
