"""An availability vote: a validator's word that it holds these payloads whole, checked and durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from p2pfed.primitives.digest import tagged
from p2pfed.types.bitmap import indices_of
from p2pfed.types.message import Count, Digest32, Height, Index, Message, Signature, SignedMessage, TimeMs
from p2pfed.types.params import UPDATES_MAX

IDS_MAX = 2 * UPDATES_MAX
Attempt = Annotated[int, msgspec.Meta(ge=0, le=1)]


def list_hash(update_ids: Sequence[bytes]) -> bytes:
    """Return H("list", the concatenated ids); they are ascending, without duplicates."""
    return tagged("list", b"".join(update_ids))


class Avail(SignedMessage, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The signed availability vote of one validator at one height."""

    KIND: ClassVar[str] = "avail"

    height: Height
    attempt: Attempt
    validator_index: Index
    list_hash: Digest32
    count: Count
    time_ms: TimeMs
    signature: Signature


class AvailMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """An availability vote on the wire, with the ascending list of ids that it stands for."""

    avail: Avail
    update_ids: Annotated[tuple[Digest32, ...], msgspec.Meta(max_length=IDS_MAX)]


class AvailEntry(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An availability vote in a block: its ids are a bitmap over the block's candidates."""

    validator_index: Index
    attempt: Attempt
    time_ms: TimeMs
    count: Count
    bitmap: Annotated[bytes, msgspec.Meta(max_length=(IDS_MAX + 7) // 8)]
    signature: Signature


def listed_ids(candidates: Sequence[bytes], entry: AvailEntry) -> tuple[bytes, ...]:
    """Return the ids that an entry lists; raises MalformedMessage where its bitmap is not one over them."""
    return tuple(candidates[place] for place in indices_of(entry.bitmap, len(candidates)))


def signed_avail(height: int, candidates: Sequence[bytes], entry: AvailEntry) -> Avail:
    """Return the vote that an entry of the block of `height` stands for; raises as `listed_ids`."""
    digest = list_hash(listed_ids(candidates, entry))
    return Avail(
        height, entry.attempt, entry.validator_index, digest, entry.count, entry.time_ms, entry.signature
    )
