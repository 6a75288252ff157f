"""How many signatures a message asks us to verify, at most: what a limit of its sender counts."""

from __future__ import annotations

from typing import get_args

from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.wire import ControlMessage, Digest, PeerRecords, ProposalMessage

_OF_EVIDENCE = 2  # Two words that contradict each other; one in some kinds.
_FIXED = dict.fromkeys(get_args(ControlMessage), 1)
_FIXED |= dict.fromkeys(get_args(Evidence), _OF_EVIDENCE)
_FIXED[Digest] = 0
_COUNTED = (PolkaCert, CommitCert, PeerRecords, ProposalMessage)
for _kind in _COUNTED:
    del _FIXED[_kind]


def signatures_in(message: ControlMessage) -> int:
    """Return an upper bound of the signatures that a look at `message` verifies."""
    fixed = _FIXED.get(type(message))  # Votes and digests, by far the most frequent.
    if fixed is not None:
        return fixed
    if isinstance(message, PolkaCert | CommitCert):
        return len(message.signatures)
    if isinstance(message, PeerRecords):
        return len(message.records)
    assert isinstance(message, ProposalMessage)
    return 1 if message.polka is None else 1 + len(message.polka.signatures)
