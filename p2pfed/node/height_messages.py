"""Messages that belong to one height: those that came too early are kept, the others handed to its work."""

from __future__ import annotations

from typing import assert_never

from p2pfed.node.height import HeightWork
from p2pfed.primitives import codec
from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.params import MIB
from p2pfed.types.pledge import Pledge
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

EARLY_MESSAGES_MAX = 8_192  # Votes of the largest network.
EARLY_PER_PEER_MAX = 1_024
# Nothing of them is verified yet, and a certificate or a list has tens of kilobytes, a vote 120 bytes.
EARLY_BYTES_MAX = 32 * MIB
EARLY_BYTES_PER_PEER_MAX = 4 * MIB

HeightMessage = (
    Prevote | Precommit | UpdateHeader | Pledge | AvailMessage | ProposalMessage | PolkaCert | CommitCert
)
# To ask for with every message, the frequent ones first; a union would be made anew each time.
HEIGHT_MESSAGES = (
    Prevote, Precommit, UpdateHeader, AvailMessage, Pledge, ProposalMessage, PolkaCert, CommitCert,
)  # fmt: skip


class EarlyMessages:
    """Who sent what, in order; one peer can't fill it alone."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, HeightMessage, bytes]] = []
        self._counts: dict[bytes, int] = {}  # Of each peer that sent some.
        self._bytes: dict[bytes, int] = {}  # Of their encodings.

    def keep(self, peer: bytes, message: HeightMessage, message_id: bytes) -> None:
        """Keep a message of `peer`, unless there are too many."""
        kept_of_peer = self._counts.get(peer, 0)
        if len(self.messages) >= EARLY_MESSAGES_MAX or kept_of_peer >= EARLY_PER_PEER_MAX:
            return
        size = len(codec.encode(message))
        bytes_of_peer = self._bytes.get(peer, 0) + size
        if bytes_of_peer > EARLY_BYTES_PER_PEER_MAX or sum(self._bytes.values()) + size > EARLY_BYTES_MAX:
            return
        self._counts[peer], self._bytes[peer] = kept_of_peer + 1, bytes_of_peer
        self.messages.append((peer, message, message_id))

    def pop_all(self) -> list[tuple[bytes, HeightMessage, bytes]]:
        """Return all of them and keep none."""
        kept, self.messages = self.messages, []
        self._counts.clear()
        self._bytes.clear()
        return kept


def height_of(message: HeightMessage) -> int:
    """Return the height of the block that a message is about."""
    match message:  # The frequent ones first: each miss costs.
        case Prevote() | Precommit():
            return message.height
        case UpdateHeader() | Pledge():
            return message.base_height + 1
        case AvailMessage():
            return message.avail.height
        case ProposalMessage():
            return message.proposal.height
        case _:
            return message.height


def deliver(work: HeightWork, message: HeightMessage, now_ms: int) -> bool:
    """Hand a message to the work on its height; answer whether it is worth passing on.

    Of what is held already another copy is not checked, so it is not passed on either: whoever forged its
    signature would have us blamed for it.
    """
    engine = work.engine
    match message:
        case Prevote() | Precommit():
            held = engine.votes_held
            return work.take_vote(message, now_ms) and engine.votes_held > held
        case UpdateHeader():
            return work.take_update(message, now_ms)
        case Pledge():
            return work.take_pledge(message, now_ms)
        case AvailMessage():
            return work.take_avail(message, now_ms)
        case ProposalMessage():
            return work.take_proposal(message, now_ms)
        case PolkaCert():
            held = len(engine.polkas)
            return work.take_polka(message, now_ms) and len(engine.polkas) > held
        case CommitCert():
            is_decided = engine.decided is not None
            return work.take_commit(message, now_ms) and not is_decided
        case _:
            assert_never(message)
