"""A member that joins trains on its own share, as if `init` had written its home."""

from __future__ import annotations

from msgspec.structs import replace
from support.tiny_chain import KEYS

from p2pfed.cli.run import with_own_share
from p2pfed.runtime.config import Config, LearnerConfig
from p2pfed.types.genesis import Participant

MEMBERS = [Participant(key.public, 10, 0) for key in KEYS[:3]]
JOINING = Config(learner=LearnerConfig(app="digits:mlp", seed=5, params={"lr": "0.1"}))


def test_every_member_that_joins_gets_another_share_in_the_order_of_keys() -> None:
    for place, key in enumerate(sorted(member.key for member in MEMBERS)):
        learner = with_own_share(JOINING, key, MEMBERS).learner
        assert (learner.index, learner.peers) == (place, 3)
        assert (learner.app, learner.seed, learner.params) == ("digits:mlp", 5, {"lr": "0.1"})


def test_an_observer_has_no_share() -> None:
    assert with_own_share(JOINING, KEYS[3].public, MEMBERS) == JOINING


def test_who_only_votes_takes_no_share_from_those_who_train() -> None:
    first, *others = sorted(MEMBERS, key=lambda member: member.key)
    members = [replace(first, role="validator"), replace(others[0], role="trainer"), others[1]]
    shares = [with_own_share(JOINING, member.key, members).learner for member in members]
    assert [(share.index, share.peers) for share in shares] == [(0, 2), (0, 2), (1, 2)]


def test_whoever_chose_a_share_keeps_it() -> None:
    chosen = Config(learner=LearnerConfig(app="digits:mlp", index=1, peers=2))
    assert with_own_share(chosen, MEMBERS[0].key, MEMBERS) == chosen
