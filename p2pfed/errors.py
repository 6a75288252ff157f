"""One tree of expected failures; the class says who is to blame.

An `assert` that fails is our own bug and is not in this tree: the node halts.
"""

from __future__ import annotations


class P2PFedError(Exception):
    """Any failure that p2pfed expects; its text is one sentence a person can act on."""


class LocalError(P2PFedError):
    """Ours or the operator's: configuration, keys, the wrong chain. Carries the exit code of the command."""

    exit_code = 3


class UsageError(LocalError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class NoPeersError(LocalError):
    """No peer was reached by the deadline."""

    exit_code = 4


class TargetMissedError(LocalError):
    """A target that the user named (`--until`) was not reached."""

    exit_code = 6


class SafetyViolation(LocalError):
    """A quorum decided what our own check refuses, or two blocks of one height are final."""

    exit_code = 7


class StorageFault(P2PFedError):
    """Local data can't be trusted or written; the peer halts rather than vote on it."""

    exit_code = 5


class DiskFull(StorageFault):
    """No space is left for what must be durable."""

    exit_code = 8


class PeerFault(P2PFedError):
    """A peer's misdeed; `penalty` is subtracted from its score (see gossip)."""

    penalty = 10


class MalformedMessage(PeerFault):
    """Bytes that are no message, or not the one canonical spelling of it."""

    penalty = 100


class BadSignature(PeerFault):
    """A signature that does not verify; three of them end the connection."""

    penalty = 34


class OutOfBounds(PeerFault):
    """A value outside its limit."""

    penalty = 34


class WrongHeight(PeerFault):
    """A message for a height or round that we don't keep; an honest slow peer may send it, so it is cheap."""

    penalty = 1


class RateExceeded(PeerFault):
    """More messages than the limit for one peer."""

    penalty = 20


class BadChunk(PeerFault):
    """A chunk that does not lead to the root it was asked for by: no accident makes one, so one is enough."""

    penalty = 100


class InvalidSnapshot(PeerFault):
    """A snapshot whose manifest contradicts its own header, or whose ledger is not the one under it."""

    penalty = 100


class InvalidLightBlock(PeerFault):
    """A header, validator set or proof that does not follow from what a light client trusts."""

    penalty = 34


class InvalidTransaction(P2PFedError):
    """A transaction that the ledger refuses; the state is unchanged."""


class InvalidBlock(P2PFedError):
    """A complete block that matches its own roots and is still wrong: prevote nil."""


class InvalidCertificate(PeerFault):
    """A certificate without a quorum of valid signatures."""

    penalty = 34
