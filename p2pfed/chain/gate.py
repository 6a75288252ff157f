"""What the quality gate means for a block: who may speak of the last model, and the model after the block."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.chain.state import ChainState
from p2pfed.errors import BadSignature, InvalidBlock, OutOfBounds
from p2pfed.ledger.module import Judge, Word
from p2pfed.types.block import Body
from p2pfed.types.model import ModelState
from p2pfed.types.quality import Quality
from p2pfed.types.validators import ValidatorSet


def is_gated(state: ChainState) -> bool:
    """Answer whether genesis has a gate."""
    return bool(state.genesis.params.gate_drop)


def watches_classes(state: ChainState) -> bool:
    """Answer whether the gate looks at classes, and at the pace beside them."""
    return is_gated(state) and bool(state.genesis.params.gate_class_drop)


def watches_pace(state: ChainState) -> bool:
    """Answer whether validators say of the newest model whether it jumped: it is new, and they are asked."""
    return watches_classes(state) and judged_model(state)


def judged_model(state: ChainState) -> bool:
    """Answer whether the next block may carry words on the model of the last one: it is a new one."""
    header = state.header
    is_new = header is not None and not header.is_empty
    return is_gated(state) and is_new and state.ledger.quality.back_to is None


def judge_of(state: ChainState, body: Body) -> Judge | None:
    """Return what the next block says of the last model; None where there is no gate."""
    if not is_gated(state):
        return None
    voters = state.last_validators if state.header is not None else state.validators
    return Judge(
        model=state.base_model if judged_model(state) else None,
        exponents_root=state.exponents_root,
        voters=tuple((validator.key, validator.power) for validator in voters.validators),
        words=tuple(Word(word.sender, word.score, word.classes) for word in body.qualities),
    )


def verify_word(state: ChainState, word: Quality) -> None:
    """Check a word on the model of the last block, as whoever passes it on does.

    Raises:
        OutOfBounds: Of another height, or by nobody who votes.
        BadSignature: Not its sender's.
    """
    if word.height != state.height or not judged_model(state):
        raise OutOfBounds(f"a word on the model of height {word.height}, the last is {state.height}")
    verify_speaker(word, state.last_validators, state.chain_id)


def verify_speaker(word: Quality, voters: ValidatorSet, chain_id: bytes) -> None:
    """Check that a word is that of one of `voters`; raises as `verify_word`."""
    if voters.index_of(word.sender) is None:
        raise OutOfBounds(f"{word.sender.hex()[:12]}… has no vote, so no word on quality")
    if not word.is_signed_by(word.sender, chain_id):
        raise BadSignature(f"quality of {word.sender.hex()[:12]}…")


def verify_words(state: ChainState, body: Body) -> None:
    """Check the words of a body, ascending by sender, between transactions and scores.

    Raises:
        InvalidBlock: The first that is wrong.
    """
    words, scores = body.qualities, () if body.scores is None else (body.scores,)
    if body.transactions != (*body.signed_transactions, *words, *scores):
        raise InvalidBlock("transactions, words on quality and scores are not in this order")
    senders = [word.sender for word in words]
    if senders != sorted(frozenset(senders)):
        raise InvalidBlock("words on quality are not in ascending order of sender")
    for word in words:
        try:
            verify_word(state, word)
        except (OutOfBounds, BadSignature) as fault:
            raise InvalidBlock(f"a word on quality: {fault}") from None


def chosen_words(state: ChainState, held: Sequence[Quality], room: int) -> tuple[Quality, ...]:
    """Return the words of `held` (verified, one a sender) that the next block carries, at most `room`."""
    if not judged_model(state):
        return ()
    fitting = [word for word in held if word.height == state.height]
    return tuple(sorted(fitting, key=lambda word: word.sender)[:room])


def kept_model(state: ChainState) -> ModelState | None:
    """Return the model after a next block without a merge; None: it goes back to one that must be loaded."""
    back_to = state.ledger.quality.back_to
    return state.model if back_to is None or back_to.model_root == state.model_root else None
