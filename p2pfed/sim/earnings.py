"""What the updates of each trainer scored over the blocks of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from p2pfed.chain.update_set import update_set
from p2pfed.types.block import Block

RIDER_SHARE = 10  # Who has not trained is to earn at most so large a part of an honest trainer's pay.


def scores_in(block: Block) -> Counter[bytes]:
    """Return the score of each trainer's update in a block; nothing where it pays nobody."""
    if block.body.scores is None:
        return Counter()
    updates = update_set(block.body.updates, block.header.round0).updates
    pairs = zip(updates, block.body.scores.scores, strict=True)
    return Counter({update.trainer: score.value for update, score in pairs})


def rider_objections(earned: Mapping[int, int], peers: int, liars: int) -> list[str]:
    """Return what is wrong with the pay of a run whose liars are free riders: the last of its members.

    Args:
        earned: The sum of the scores of each member that has any.
        peers: How many members there are.
        liars: How many of them lie.
    """
    honest = [earned.get(peer, 0) for peer in range(peers - liars)]
    if not sum(honest):
        return ["nobody honest is paid for an update"]
    riders = {peer: earned.get(peer, 0) for peer in range(peers - liars, peers)}
    return [
        f"peer {peer} scores {score} and is to score at most a tenth of {sum(honest) // len(honest)}"
        for peer, score in riders.items()
        if RIDER_SHARE * score * len(honest) > sum(honest)
    ]
