"""What a block says of the last model, told to people."""

from __future__ import annotations

from p2pfed.chain.gate import judged_model
from p2pfed.chain.state import ChainState
from p2pfed.ledger.module import Word
from p2pfed.ledger.modules.quality import Scored, median_score
from p2pfed.node.facts import ModelJudged, ModelRejected
from p2pfed.types.block import Block


def gate_facts(
    block: Block, before: ChainState, after: ChainState
) -> tuple[ModelJudged | ModelRejected, ...]:
    """Return what the words in `block`, the one after `before`, came to; nothing where there was no gate."""
    if not judged_model(before):
        return ()
    words = tuple(Word(word.sender, word.score, word.classes) for word in block.body.qualities)
    voters = tuple((one.key, one.power) for one in before.last_validators.validators)
    score, quality = median_score(words, voters), after.ledger.quality
    best = before.ledger.quality.best
    judged = ModelJudged(
        before.height, -1 if score is None else score, -1 if best is None else best.score, len(words)
    )
    target: Scored | None = quality.back_to
    if target is None:
        return (judged,)
    return judged, ModelRejected(before.height, judged.score, target.height, target.score)
