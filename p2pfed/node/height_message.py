"""Messages about one height: all but those about transactions, evidence and peers."""

from __future__ import annotations

from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

# Votes of the largest network.
EARLY_MESSAGES_MAX = 8_192
EARLY_PER_PEER_MAX = 1_024

HeightMessage = UpdateHeader | AvailMessage | ProposalMessage | Prevote | Precommit | PolkaCert | CommitCert


def height_of(message: HeightMessage) -> int:
    """Return the height of the block that a message is about."""
    match message:
        case UpdateHeader():
            return message.base_height + 1
        case AvailMessage():
            return message.avail.height
        case ProposalMessage():
            return message.proposal.height
        case _:
            return message.height


class EarlyMessages:
    """Messages of the next height that came early, with who sent them, kept until we are there."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, HeightMessage]] = []

    def keep(self, peer: bytes, message: HeightMessage) -> None:
        """Keep a message while there is room, for all and for this peer."""
        kept_of_peer = sum(1 for author, _ in self._kept if author == peer)
        if len(self._kept) < EARLY_MESSAGES_MAX and kept_of_peer < EARLY_PER_PEER_MAX:
            self._kept.append((peer, message))

    def take(self) -> list[tuple[bytes, HeightMessage]]:
        """Return what was kept, in order, and keep none of it."""
        kept, self._kept = self._kept, []
        return kept
