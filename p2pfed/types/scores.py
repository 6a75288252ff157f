"""What the updates of a block scored: the proposer writes it into the block, everybody else recomputes it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.types.message import Message
from p2pfed.types.params import SKETCH_BYTES, UPDATES_MAX

Sketch = Annotated[bytes, msgspec.Meta(min_length=SKETCH_BYTES, max_length=SKETCH_BYTES)]
ScoreValue = Annotated[int, msgspec.Meta(ge=0, le=1 << 16)]


class Score(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One update: its score in units of 2^-16, and a sketch by which it is known again a block later."""

    value: ScoreValue
    sketch: Sketch


class Scores(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=44):
    """The scores of a block that merged, in the order of its update set, and the sketch of its aggregate.

    It stands last among the transactions of the block, signed by nobody: it is true or the block is invalid.
    """

    scores: Annotated[tuple[Score, ...], msgspec.Meta(min_length=1, max_length=UPDATES_MAX)]
    aggregate: Sketch
