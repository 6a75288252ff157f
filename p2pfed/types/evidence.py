"""Evidence: self-contained proof that a validator or a trainer lied (spec/consensus.md section 12).

One lie, one encoding: of two messages the one with the smaller canonical bytes comes first. `height` is that
of the block the lie was about.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pfed.primitives.merkle import LEAF_BYTES, PATH_LENGTH_MAX
from p2pfed.types.availability import Avail
from p2pfed.types.message import Digest32, Message, PublicKey
from p2pfed.types.params import HEADER_BYTES_MAX
from p2pfed.types.proposal import Proposal
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote


class DuplicateVote(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """E1: two votes of one (validator, height, round, type) with different (value, valid round)."""

    first: Prevote | Precommit
    second: Prevote | Precommit

    @property
    def height(self) -> int:
        return self.first.height


class Amnesia(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=43):
    """E2: a precommit, and a prevote of a later round with an earlier valid round: the lock was forgotten."""

    precommit: Precommit
    prevote: Prevote

    @property
    def height(self) -> int:
        return self.precommit.height


class DuplicateProposal(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """E3: two proposals of one (validator, height, round) with different (value, valid round)."""

    first: Proposal
    second: Proposal

    @property
    def height(self) -> int:
        return self.first.height


class InvalidUpdate(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=40):
    """E5: a signed update that breaks the static rules for whoever reads it.

    Either its header names another length or codec than the model has: then nothing is opened, and `index` is
    0. Or `leaf` is the 16 KiB leaf `index` of its payload, with the path to `payload_root`, and holds a
    forbidden element.
    """

    update: UpdateHeader
    index: Annotated[int, msgspec.Meta(ge=0, le=1 << 18)]  # A payload has at most 2^32 bytes.
    leaf: Annotated[bytes, msgspec.Meta(max_length=LEAF_BYTES)]
    path: Annotated[tuple[Digest32, ...], msgspec.Meta(max_length=PATH_LENGTH_MAX)]

    @property
    def height(self) -> int:
        return self.update.base_height + 1


class DuplicateUpdate(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=41):
    """E6: two updates of one (trainer, base height) with different ids."""

    first: UpdateHeader
    second: UpdateHeader

    @property
    def height(self) -> int:
        return self.first.base_height + 1


class DuplicateAvail(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=42):
    """E7: two availability votes of one (validator, height, attempt) with different bodies."""

    first: Avail
    second: Avail

    @property
    def height(self) -> int:
        return self.first.height


class LightClientAttack(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=45):
    """E4: `signer` precommitted headers that don't go together, in whatever rounds.

    Of one height two that have different parents, or one parent and different sets or parameters. Or, with
    `other` nil and `other_header` empty, one whose parameters are not those of genesis. Headers are their
    canonical bytes. A precommit's index is that in the set which its header claims, so the key is named.
    """

    signer: PublicKey
    header: Annotated[bytes, msgspec.Meta(max_length=HEADER_BYTES_MAX)]
    precommit: Precommit
    other_header: Annotated[bytes, msgspec.Meta(max_length=HEADER_BYTES_MAX)]
    other: Precommit | None

    @property
    def height(self) -> int:
        return self.precommit.height


VotingEvidence = DuplicateVote | Amnesia | DuplicateProposal | DuplicateAvail
TrainingEvidence = InvalidUpdate | DuplicateUpdate
Evidence = VotingEvidence | TrainingEvidence | LightClientAttack
