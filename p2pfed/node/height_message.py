"""Messages about one height: all but those about transactions, evidence and peers."""

from __future__ import annotations

from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

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
