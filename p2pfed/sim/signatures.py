"""All that was signed about agreement in a run, and whom it convicts."""

from __future__ import annotations

from p2pfed.errors import MalformedMessage
from p2pfed.sim.cores.convict import Signed, offences
from p2pfed.types.bitmap import indices_of
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

CONVICTING = frozenset({"E1", "E2"})  # A fork is paid for by votes, not by proposals.


class Signatures:
    """A pile of proposals and votes by height; signatures are checked when somebody is to be convicted."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._pile: dict[int, dict[Signed, None]] = {}
        self._validators: dict[int, ValidatorSet] = {}

    def add(self, message: ControlMessage, validators: ValidatorSet) -> None:
        """Keep what a message says of agreement; a certificate is the votes in it.

        `validators` are those of its height.
        """
        match message:
            case ProposalMessage():
                self._keep(message.proposal, validators)
                if message.polka is not None and message.polka.height == message.proposal.height:
                    self.add(message.polka, validators)
            case Prevote() | Precommit():
                self._keep(message, validators)
            case PolkaCert() | CommitCert():
                for vote in votes_of(message, validators):
                    self._keep(vote, validators)

    def convicted(self, height: int) -> dict[bytes, set[str]]:
        """Return the offences (E1, E2, E3) of each key at a height by what is really signed."""
        if height not in self._pile:
            return {}
        validators = self._validators[height]
        found = offences(message for message in self._pile[height] if self._is_signed(message, validators))
        return {validators.validators[index].key: kinds for index, kinds in sorted(found.items())}

    def convicting_power(self, height: int, validators: ValidatorSet) -> int:
        """Return the power, in `validators`, of those convicted of E1 or E2 at a height."""
        keys = [key for key, kinds in self.convicted(height).items() if kinds & CONVICTING]
        indices = (validators.index_of(key) for key in keys)
        return validators.power_of(index for index in indices if index is not None)

    @property
    def heights(self) -> tuple[int, ...]:
        return tuple(sorted(self._pile))

    def _keep(self, message: Signed, validators: ValidatorSet) -> None:
        self._validators[message.height] = validators
        self._pile.setdefault(message.height, {})[message] = None

    def _is_signed(self, message: Signed, validators: ValidatorSet) -> bool:
        if message.validator_index >= len(validators):
            return False
        key = validators.validators[message.validator_index].key
        return message.is_signed_by(key, self._chain_id)


def votes_of(cert: PolkaCert | CommitCert, validators: ValidatorSet) -> list[Prevote | Precommit]:
    """Return the votes that a well-formed certificate stands for; none for another."""
    try:
        indices = indices_of(cert.bitmap, len(validators))
    except MalformedMessage:
        return []
    pairs = zip(indices, cert.signatures, strict=False)
    if isinstance(cert, PolkaCert):
        height, round_, value_id, valid_round = cert.height, cert.round, cert.value_id, cert.valid_round
        return [Prevote(height, round_, value_id, valid_round, index, mark) for index, mark in pairs]
    return [Precommit(cert.height, cert.round, cert.value_id, index, mark) for index, mark in pairs]
