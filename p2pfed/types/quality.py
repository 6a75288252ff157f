"""A validator's word on what the newest model is worth on its own data: integers, so that peers can agree."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import msgspec

from p2pfed.types.message import Height, PublicKey, Signature, SignedMessage
from p2pfed.types.params import QUALITY_CLASSES_MAX

QUALITY_ONE = 1 << 16
CLASS_ONE = 254  # A class that is always right.
CLASS_UNKNOWN = 255  # No example of it is at hand.
QUALITY_PACE = QUALITY_CLASSES_MAX - 1  # The place that is no class: CLASS_ONE for a step, 0 for a jump.

QualityScore = Annotated[int, msgspec.Meta(ge=0, le=QUALITY_ONE)]
ClassScores = Annotated[bytes, msgspec.Meta(max_length=QUALITY_CLASSES_MAX)]


@final
class Quality(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=46):
    """What the model of the block of `height` scores on the sender's hold-out.

    score: Higher is better, in units of 2^-16.
    classes: The share of each class that is named right, in units of 1/254; 255: that class is not known. The
        place QUALITY_PACE is no class: 0 where the model's step is a jump.
    """

    KIND: ClassVar[str] = "quality"

    height: Height
    sender: PublicKey
    score: QualityScore
    classes: ClassScores
    signature: Signature
