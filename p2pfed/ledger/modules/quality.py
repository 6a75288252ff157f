"""The quality gate: what models scored, and which one the network goes back to where a new one is worse.

Only in networks whose genesis has a gate; elsewhere this slice is empty and stands nowhere (spec/quality.md).
"""

# The arguments are the contract of a module, used or not.
# ruff: noqa: ARG001
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec.structs import replace

from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.module import Context, Judge, Payload, Word
from p2pfed.primitives import codec
from p2pfed.types.genesis import Params
from p2pfed.types.message import Digest32, Height, Message, PublicKey
from p2pfed.types.params import (
    GATE_RETURN_HEIGHTS,
    QUALITY_CLASSES_MAX,
    QUALITY_WINDOW,
    VALIDATORS_MAX,
)
from p2pfed.types.quality import CLASS_ONE, CLASS_UNKNOWN, QUALITY_ONE, ClassScores, QualityScore

name = "quality"


class Shares(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The shares of classes that one validator found."""

    sender: PublicKey
    classes: ClassScores


class Scored(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A model that was found good: its height, roots and the median of its scores.

    shares: What each validator said of classes, ascending by sender; () where nobody watches them.
    """

    height: Height
    model_root: Digest32
    exponents_root: Digest32
    score: QualityScore
    shares: Annotated[tuple[Shares, ...], msgspec.Meta(max_length=VALIDATORS_MAX)] = ()


class QualityState(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`window` is ascending by height, none older than QUALITY_WINDOW heights.

    strikes: How many models in a row were worse.
    back_to: The model that the next block returns to; None: the next one trains on.
    floor: No update of a model below this height counts any more.
    """

    window: Annotated[tuple[Scored, ...], msgspec.Meta(max_length=QUALITY_WINDOW)] = ()
    strikes: Height = 0
    back_to: Scored | None = None
    floor: Height = 0

    @property
    def best(self) -> Scored | None:
        """The best model of the window, the newest of equals."""
        return _best(self.window)

    def target(self, height: int) -> Scored | None:
        """Return the best model that all peers still keep once the one of `height` was judged."""
        return _best(scored for scored in self.window if scored.height > height - GATE_RETURN_HEIGHTS)


def execute(
    payload: Judge, context: Context, state: QualityState
) -> tuple[QualityState, tuple[Payload, ...]]:
    """Judge the model of the last block by the words in this one (Q3 to Q7), or go back to a better one (Q8).

    Raises:
        InvalidTransaction: Somebody spoke twice, has no vote, or there is no new model to speak of.
    """
    _verify(payload)
    if state.back_to is not None:
        returned = replace(state.back_to, height=context.height)  # From now on it is this block's model.
        older = tuple(scored for scored in state.window if scored.height < state.back_to.height)
        return QualityState((*older, returned)[-QUALITY_WINDOW:], 0, None, context.height), ()
    if payload.model is None:
        return state, ()
    score = median_score(payload.words, payload.voters)
    if score is None:
        return state, ()  # Too few have spoken: neither good nor bad.
    window = tuple(scored for scored in state.window if scored.height > payload.model.height - QUALITY_WINDOW)
    state = replace(state, window=window)
    shares = tuple(Shares(word.sender, word.classes) for word in payload.words)
    scored = Scored(
        payload.model.height,
        payload.model.root,
        payload.exponents_root,
        score,
        shares if context.params.gate_class_drop else (),
    )
    best = state.best
    if best is None or not is_worse(scored, best, payload.voters, context.params):
        return replace(state, window=(*window, scored)[-QUALITY_WINDOW:], strikes=0), ()
    target = state.target(payload.model.height)
    if target is None or state.strikes + 1 < context.params.gate_patience:
        return replace(state, strikes=state.strikes + 1), ()
    return replace(state, strikes=0, back_to=target), ()


def end_block(context: Context, state: QualityState) -> tuple[QualityState, tuple[Payload, ...]]:
    """Nothing falls due at the end of a block."""
    return state, ()


def leaves(state: QualityState) -> Iterator[tuple[bytes, bytes]]:
    """Yield one leaf for the state and one for the shares of each model; none where there is no gate."""
    if state == QualityState():
        return
    apart = [(b"shares" + place.to_bytes(2, "big"), one.shares) for place, one in enumerate(state.window)]
    bare = replace(state, window=tuple(replace(scored, shares=()) for scored in state.window))
    if state.back_to is not None:
        apart.append((b"back_to", state.back_to.shares))
        bare = replace(bare, back_to=replace(state.back_to, shares=()))
    yield b"state", codec.encode(bare)
    yield from ((key, codec.encode(shares)) for key, shares in apart if shares)


def is_worse(scored: Scored, best: Scored, voters: Sequence[tuple[bytes, int]], params: Params) -> bool:
    """Answer whether a model has lost more than the network bears against the best of its window (Q6).

    Either overall, by a share of the best score, or in one class, by a share of all its examples.

    Args:
        voters: (key, power) of the validators of the model's block.
    """
    if scored.score * QUALITY_ONE < best.score * (QUALITY_ONE - params.gate_drop):
        return True
    return bool(params.gate_class_drop) and has_lost_class(scored, best, voters, params.gate_class_drop)


def has_lost_class(
    scored: Scored, best: Scored, voters: Sequence[tuple[bytes, int]], class_drop: int
) -> bool:
    """Answer whether of some class most of the power that knows it saw more than `class_drop` lost.

    Each validator's share is compared with its own before: hold-outs of few examples differ far more from
    each other than one of them changes, and among figures that are far apart a third of liars could choose.
    A class counts where more than two thirds of the power know it of both models.
    """
    powers, before = dict(voters), {one.sender: one.classes for one in best.shares}
    total, known, lost = sum(powers.values()), [0] * QUALITY_CLASSES_MAX, [0] * QUALITY_CLASSES_MAX
    for one in scored.shares:
        pairs = zip(one.classes, before.get(one.sender, b""), strict=False)
        for place, (now, then) in enumerate(pairs):
            if CLASS_UNKNOWN in (now, then):
                continue
            known[place] += powers[one.sender]
            if (then - now) * QUALITY_ONE > class_drop * CLASS_ONE:
                lost[place] += powers[one.sender]
    return any(
        3 * all_power > 2 * total and 2 * gone > all_power
        for all_power, gone in zip(known, lost, strict=True)
    )


def median_score(words: Sequence[Word], voters: Sequence[tuple[bytes, int]]) -> int | None:
    """Return the stake-weighted lower median of the scores; None without more than two thirds (Q4).

    So less than a third of liars can move no median beyond what honest validators said.
    """
    powers = dict(voters)
    spoken = [(word.score, powers[word.sender]) for word in words]
    if 3 * sum(power for _, power in spoken) <= 2 * sum(powers.values()):
        return None
    return _median(spoken)


def _best(models: Iterable[Scored]) -> Scored | None:
    return max(models, key=lambda scored: (scored.score, scored.height), default=None)


def _median(values: Sequence[tuple[int, int]]) -> int:
    """Return the first (value, power), ascending, up to which at least half of the power lies."""
    ordered, whole, passed = sorted(values), sum(power for _, power in values), 0
    for value, power in ordered:
        passed += power
        if 2 * passed >= whole:
            return value
    raise AssertionError("a median of nothing")


def _verify(judge: Judge) -> None:
    voters = frozenset(key for key, _ in judge.voters)
    senders = [word.sender for word in judge.words]
    if judge.words and judge.model is None:
        raise InvalidTransaction("a word on quality where the last block has no new model")
    if len(frozenset(senders)) != len(senders):
        raise InvalidTransaction("a validator's word on quality stands twice")
    for sender in senders:
        if sender not in voters:
            raise InvalidTransaction(f"{sender.hex()[:12]}… has no vote, so no word on quality")
