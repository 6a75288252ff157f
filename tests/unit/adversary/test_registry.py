"""Liars are named as `KIND[:key=value,…]`, and a wrong name is answered with the right one."""

from __future__ import annotations

import pytest
from support.lab import Lab

from p2pfed.adversary.registry import KINDS, make_adversary, make_attack, poison_of, verify_spec
from p2pfed.errors import UsageError


def test_a_kind_comes_with_its_defaults_and_takes_settings() -> None:
    assert verify_spec("sign_flip") == ("sign_flip", {"scale": 4.0})
    assert verify_spec("sign_flip:scale=2.5") == ("sign_flip", {"scale": 2.5})
    assert verify_spec("silent") == ("silent", {})


def test_settings_of_one_liar_do_not_become_the_next_ones() -> None:
    verify_spec("alie:z=9")
    assert verify_spec("alie") == ("alie", {"z": 1.5})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("sign_flop", "did you mean sign_flip"),
        ("qqqq", "there are sign_flip, alie"),
        ("", "no Byzantine kind"),
        ("noise:volume=3", "it has scale"),
        ("silent:volume=3", "it has none"),
        ("noise:scale=loud", "takes a number"),
        ("noise:scale", "takes a number"),
        ("noise:scale=nan", "takes a number"),
        ("noise:scale=inf", "takes a number"),
    ],
)
def test_a_wrong_spec_is_one_sentence_that_helps(spec: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        verify_spec(spec)


def test_only_attacks_on_values_are_made_without_a_peer_and_two_poison_data() -> None:
    assert make_attack("ipm:epsilon=3").chosen == {"epsilon": 3.0}
    with pytest.raises(UsageError, match="silent is no attack on values; there are sign_flip"):
        make_attack("silent")
    poisoning = {spec: poison_of(spec) for spec in KINDS if poison_of(spec)}
    assert poisoning == {"label_flip": {"poison": "label_flip"}, "backdoor": {"poison": "backdoor"}}
    assert poison_of("backdoor:scale=2") == {"poison": "backdoor"}
    assert poison_of("") == {}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_liar_is_made_by_its_name_and_says_it(kind: str) -> None:
    lab = Lab()
    liar = make_adversary(kind, lab.node, lab.key, 1, (lab.key.public,))
    assert liar.kind == kind
    assert liar.node is lab.node
