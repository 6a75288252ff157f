"""Evidence of a lie that nobody told in the run: made with the culprit's key, to be handed to a peer."""

from __future__ import annotations

import msgspec

from p2pfed.consensus.evidence import duplicate_vote
from p2pfed.primitives.digest import tagged
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.evidence import DuplicateVote
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Prevote

ROUND = 7  # That no run of a few heights reaches: what the culprit really said there stands elsewhere.
UNSIGNED = bytes(64)


def double_vote(
    culprit: PrivateKey, validators: ValidatorSet, chain_id: bytes, height: int
) -> DuplicateVote | None:
    """Return two prevotes of one place by `culprit`; None where it does not vote at `height`."""
    index = validators.index_of(culprit.public)
    if index is None:
        return None

    def signed(value_id: bytes | None) -> Prevote:
        vote = Prevote(height, ROUND, value_id, -1, index, UNSIGNED)
        return msgspec.structs.replace(vote, signature=culprit.sign(vote.digest(chain_id)))

    return duplicate_vote(signed(None), signed(tagged("lie", height.to_bytes(8, "big"))))
