"""A member that joins trains on its own share, as if `init` had written its home."""

from __future__ import annotations

from support.tiny_chain import KEYS

from p2pfed.cli.run import with_own_share
from p2pfed.runtime.config import Config, LearnerConfig

MEMBERS = [key.public for key in KEYS[:3]]
JOINING = Config(learner=LearnerConfig(app="digits:mlp", seed=5, params={"lr": "0.1"}))


def test_every_member_that_joins_gets_another_share_in_the_order_of_keys() -> None:
    for place, key in enumerate(sorted(MEMBERS)):
        learner = with_own_share(JOINING, key, MEMBERS).learner
        assert (learner.index, learner.peers) == (place, 3)
        assert (learner.app, learner.seed, learner.params) == ("digits:mlp", 5, {"lr": "0.1"})


def test_an_observer_has_no_share() -> None:
    assert with_own_share(JOINING, KEYS[3].public, MEMBERS) == JOINING


def test_whoever_chose_a_share_keeps_it() -> None:
    chosen = Config(learner=LearnerConfig(app="digits:mlp", index=1, peers=2))
    assert with_own_share(chosen, MEMBERS[0], MEMBERS) == chosen
