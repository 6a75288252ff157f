"""What a light client is told: a final block without its body, and proofs that lead to a header's root."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.primitives.merkle import PATH_LENGTH_MAX
from p2pfed.types.block import Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.message import Digest32, Message
from p2pfed.types.params import PROOF_LEAF_BYTES_MAX
from p2pfed.types.validators import ValidatorSet

Path = Annotated[tuple[Digest32, ...], msgspec.Meta(max_length=PATH_LENGTH_MAX)]
Leaf = Annotated[bytes, msgspec.Meta(max_length=PROOF_LEAF_BYTES_MAX)]


class LightBlock(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=38):
    """A final header, its certificate, the set that signed it and the set that decides the next block."""

    header: Header
    commit: CommitCert
    validators: ValidatorSet
    next_validators: ValidatorSet


class ListProof(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=39):
    """One leaf of a sorted list with its path, or two neighbours between which a key is missing.

    `index` is that of the first leaf in a list of `count`. One leaf that is not the one asked for stands at
    an end of the list; an empty list has none. RFC 6962 does not bind `count`, and `chain.proofs` needs no
    more than that both leaves use the same.
    """

    index: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
    count: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
    leaves: Annotated[tuple[Leaf, ...], msgspec.Meta(max_length=2)]
    paths: Annotated[tuple[Path, ...], msgspec.Meta(max_length=2)]
