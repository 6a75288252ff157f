"""Whole nodes convict a liar whose two messages meet only by gossip; nobody else pays, and heights go on."""

from __future__ import annotations

import msgspec
import pytest

from p2pfed.adversary import registry
from p2pfed.adversary.protocol import _Splitter
from p2pfed.node.effects import Send
from p2pfed.node.facts import EvidenceFound, StakeSlashed
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World
from p2pfed.types.availability import AvailMessage, list_hash
from p2pfed.types.update import UpdateHeader

LIAR = 3


class TwoUpdates(_Splitter):
    """Tells half of the peers that its update has one example more."""

    kind = "silent"  # A registered name; the class under it is this one here.

    def contradiction(self, effect: Send):
        update = effect.message
        if not isinstance(update, UpdateHeader) or update.trainer != self.key.public:
            return None
        false = msgspec.structs.replace(update, examples=update.examples + 1)
        chain_id = self.node.state.chain_id
        return msgspec.structs.replace(false, signature=self.key.sign(false.digest(chain_id)))


class TwoAvails(_Splitter):
    """Tells half of the peers that it holds nothing."""

    kind = "silent"

    def contradiction(self, effect: Send):
        message = effect.message
        if not isinstance(message, AvailMessage) or message.avail.validator_index != self.own_index:
            return None
        false = msgspec.structs.replace(message.avail, list_hash=list_hash(()), count=0)
        chain_id = self.node.state.chain_id
        signature = self.key.sign(false.digest(chain_id))
        return AvailMessage(msgspec.structs.replace(false, signature=signature), ())


@pytest.mark.parametrize(
    ("liar", "evidence", "offence"),
    [(TwoUpdates, "DuplicateUpdate", "DUPLICATE_UPDATE"), (TwoAvails, "DuplicateAvail", "DUPLICATE_AVAIL")],
)
def test_two_messages_that_meet_by_gossip_convict_the_liar_alone(
    liar: type[_Splitter], evidence: str, offence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.KINDS, "silent", registry.Kind(liar))
    world = World(Scenario(heights=6, byzantine=("silent",)))
    result = world.run()
    assert result.violations == ()
    assert result.heights[:LIAR] == (6,) * LIAR
    culprit = world.peers[LIAR].public
    found = {(fact.culprit, fact.kind) for _, _, fact in world.facts if isinstance(fact, EvidenceFound)}
    assert found == {(culprit, evidence)}
    for honest in range(LIAR):
        slashed = [f for _, by, f in world.facts if isinstance(f, StakeSlashed) and by == honest]
        assert [(fact.culprit, fact.kind) for fact in slashed] == [(culprit, offence)]
