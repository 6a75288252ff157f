"""Check what a peer sends before it counts: place, shape, signature, meaning, the cheap questions first."""

from __future__ import annotations

from msgspec import Struct

from p2pfed.consensus.certificates import verify_commit, verify_polka
from p2pfed.consensus.proposer import proposer_index
from p2pfed.errors import BadSignature, InvalidCertificate, MalformedMessage, OutOfBounds, WrongHeight
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.message import SignatureCheck, SignedMessage
from p2pfed.types.params import ROUNDS_AHEAD_MAX
from p2pfed.types.proposal import Proposal
from p2pfed.types.validators import ValidatorSet
from p2pfed.types.vote import Vote
from p2pfed.types.wire import ProposalMessage


class Admission(Struct, frozen=True):
    """The constants of one height that messages are checked against, and how signatures are."""

    chain_id: bytes
    height: int
    validators: ValidatorSet
    is_signed_by: SignatureCheck = SignedMessage.is_signed_by

    def verify_height(self, height: int) -> None:
        """Raise WrongHeight unless this is our height."""
        if height != self.height:
            raise WrongHeight(f"height {height} while we work on {self.height}")

    def verify_vote_place(self, vote: Vote, own_round: int) -> None:
        """Raise PeerFault unless height, round, index and valid round make sense; no signature is checked."""
        self._verify_place(vote, own_round)
        if vote.value_id is None and vote.valid_round != -1:
            raise MalformedMessage(f"a nil prevote with valid round {vote.valid_round}")
        if vote.valid_round >= vote.round:
            raise MalformedMessage(f"valid round {vote.valid_round} in round {vote.round}")

    def verify_proposal_place(self, proposal: Proposal, own_round: int) -> None:
        """Raise PeerFault unless it is from the proposer of its round; no signature is checked."""
        self._verify_place(proposal, own_round)
        expected = proposer_index(self.validators, self.chain_id, self.height, proposal.round)
        if proposal.validator_index != expected:
            raise OutOfBounds(f"validator {proposal.validator_index} proposes in a round of {expected}")
        if proposal.valid_round >= proposal.round:
            raise MalformedMessage(f"valid round {proposal.valid_round} in round {proposal.round}")

    def verify_vote_signature(self, vote: Vote) -> None:
        """Raise BadSignature unless the validator that `vote` names signed it."""
        key = self.validators.validators[vote.validator_index].key
        if not self.is_signed_by(vote, key, self.chain_id):
            raise BadSignature(f"a vote is not signed by validator {vote.validator_index}")

    def verify_proposal_content(self, message: ProposalMessage) -> None:
        """Raise PeerFault unless the header is the one that the proposer signed for."""
        proposal, header = message.proposal, message.header
        if header.value_id != proposal.value_id:
            raise MalformedMessage("the header is not the one of the proposal")
        if (header.height, header.chain_id) != (self.height, self.chain_id):
            raise MalformedMessage(f"a header of height {header.height} or another chain")
        key = self.validators.validators[proposal.validator_index].key
        if not self.is_signed_by(proposal, key, self.chain_id):
            raise BadSignature(f"a proposal is not signed by validator {proposal.validator_index}")

    def verify_polka(self, cert: PolkaCert) -> None:
        """Raise InvalidCertificate unless `cert` holds valid prevotes of a quorum."""
        verify_polka(cert, self.validators, self.chain_id, self.is_signed_by)

    def verify_commit(self, cert: CommitCert) -> None:
        """Raise InvalidCertificate unless `cert` holds valid precommits of a quorum."""
        verify_commit(cert, self.validators, self.chain_id, self.is_signed_by)

    def verify_attached_polka(self, message: ProposalMessage) -> None:
        """Raise InvalidCertificate unless the attached polka, if any, is valid and of the valid round."""
        proposal, polka = message.proposal, message.polka
        if polka is None:
            return
        expected = (self.height, proposal.valid_round, proposal.value_id)
        if (polka.height, polka.round, polka.value_id) != expected:
            raise InvalidCertificate(
                f"a polka of round {polka.round} beside valid round {proposal.valid_round}"
            )
        self.verify_polka(polka)

    def _verify_place(self, signed: Vote | Proposal, own_round: int) -> None:
        self.verify_height(signed.height)
        if signed.round > own_round + ROUNDS_AHEAD_MAX:
            raise WrongHeight(f"round {signed.round} while we are in {own_round}")
        if signed.validator_index >= len(self.validators.validators):
            raise OutOfBounds(f"validator {signed.validator_index} of {len(self.validators)}")
