"""A committee of real keys, and a peer that carries out its engine's outputs as a node does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from p2pfed.consensus.certificates import commit_cert, polka_cert
from p2pfed.consensus.engine import Engine
from p2pfed.consensus.io import (
    CollectEnded,
    Input,
    LeaveCollect,
    Output,
    ProposalReceived,
    Propose,
    PublishCommit,
    PublishPolka,
    Restarted,
    SendPrecommit,
    SendPrevote,
    VoteReceived,
)
from p2pfed.consensus.proposer import proposer_table
from p2pfed.consensus.signer import (
    RECORD_BYTES_MAX,
    SignAvail,
    Signed,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRecord,
    SignRequest,
    decide,
    decode_record,
    initial_record,
)
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.primitives.codec import encode
from p2pfed.primitives.digest import ZERO_DIGEST, sha256
from p2pfed.primitives.keys import PrivateKey
from p2pfed.primitives.merkle import EMPTY_ROOT
from p2pfed.types.block import HEADER_VERSION, Header
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.proposal import Proposal
from p2pfed.types.validators import validator_set
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

CHAIN_ID = sha256(b"a network for tests")
LETTERS = "ABCDEFGH"


class Committee:
    """Validators of equal or given powers, named by letters.

    With equal powers A proposes in round 0 of the height, B in round 1, and so on in a circle.
    """

    def __init__(self, powers: Sequence[int] = (1, 1, 1, 1), height: int = 1) -> None:
        self.height = height
        keys = [PrivateKey(sha256(b"validator" + bytes([number]))) for number in range(len(powers))]
        self.validators = validator_set((key.public, power) for key, power in zip(keys, powers, strict=True))
        by_public = {key.public: key for key in keys}
        self.keys = [by_public[validator.key] for validator in self.validators.validators]
        table = proposer_table(self.validators, CHAIN_ID)
        turns = [table[(height + round_) % len(table)] for round_ in range(len(table))]
        self.order = list(dict.fromkeys(turns))
        self.order += [index for index in range(len(powers)) if index not in self.order]
        self.turns = turns

    def index(self, name: str) -> int:
        return self.order[LETTERS.index(name)]

    def name(self, index: int) -> str:
        return LETTERS[self.order.index(index)]

    def key(self, name: str) -> PrivateKey:
        return self.keys[self.index(name)]

    def proposer(self, round_: int) -> str:
        return self.name(self.turns[round_ % len(self.turns)])

    def header(self, round0: int = 0, salt: int = 0, proposer: str | None = None) -> Header:
        public = self.key(proposer or self.proposer(round0)).public
        zero, empty = ZERO_DIGEST, EMPTY_ROOT
        return Header(
            version=HEADER_VERSION, chain_id=CHAIN_ID, height=self.height, round0=round0, time_ms=1 + salt,
            prev_header_hash=zero, prev_commit_hash=zero, train_index=0, flags=0, proposer=public,
            seed_reveal=b"", validators_hash=self.validators.hash, next_validators_hash=self.validators.hash,
            params_hash=zero, avail_root=empty, updates_root=empty, rule="", exponents_root=empty,
            aggregate_root=empty, model_root=empty, model_parent=0, scores_root=empty,
            transactions_root=empty, receipts_root=empty, state_root=zero, evidence_root=empty,
            extensions_root=empty, body_hash=empty,
        )  # fmt: skip

    def proposal(
        self,
        round_: int,
        header: Header,
        valid_round: int = -1,
        polka: PolkaCert | None = None,
        by: str | None = None,
    ) -> ProposalMessage:
        name = by or self.proposer(round_)
        unsigned = Proposal(header.height, round_, header.value_id, valid_round, self.index(name), bytes(64))
        return ProposalMessage(self._sign(unsigned, name), header, polka)

    def prevote(self, name: str, round_: int, value_id: bytes | None, valid_round: int = -1) -> Prevote:
        vote = Prevote(self.height, round_, value_id, valid_round, self.index(name), bytes(64))
        return self._sign(vote, name)

    def precommit(self, name: str, round_: int, value_id: bytes | None) -> Precommit:
        return self._sign(Precommit(self.height, round_, value_id, self.index(name), bytes(64)), name)

    def polka(self, names: Iterable[str], round_: int, value_id: bytes, valid_round: int = -1) -> PolkaCert:
        return polka_cert(
            (self.prevote(name, round_, value_id, valid_round) for name in names), self.validators
        )

    def commit(self, names: Iterable[str], round_: int, value_id: bytes) -> CommitCert:
        return commit_cert((self.precommit(name, round_, value_id) for name in names), self.validators)

    def engine(self, name: str | None = None, record: SignRecord | None = None) -> Engine:
        return Engine(
            chain_id=CHAIN_ID,
            height=self.height,
            validators=self.validators,
            own_index=None if name is None else self.index(name),
            preset=PRESETS["local"],
            record=record,
        )

    def _sign(self, message, name):
        return msgspec.structs.replace(message, signature=self.key(name).sign(message.digest(CHAIN_ID)))


class Peer:
    """An honest peer: signs what its engine asks for, keeps the record, hears itself, and tells others.

    `sent` holds the messages for all others, in order; `record` is what a crash leaves.
    """

    def __init__(self, committee: Committee, name: str, record: SignRecord | None = None) -> None:
        self.committee, self.name = committee, name
        self.record = record or initial_record()
        self.engine = committee.engine(name, self.record)
        self.sent: list[object] = []

    def take(self, input_: Input) -> list[Output]:
        """Return every output that `input_` leads to, those of hearing itself included."""
        outputs: list[Output] = []
        for output in self.engine.step(input_):
            outputs.append(output)
            for heard in self._carry_out(output):
                outputs += self.take(heard)
        return outputs

    def restart(self) -> list[Output]:
        """Lose everything but the record, and go on from it."""
        data = encode(self.record)
        assert len(data) <= RECORD_BYTES_MAX
        self.record = decode_record(data)
        self.engine = self.committee.engine(self.name, self.record)
        return self.take(Restarted())

    def _carry_out(self, output: Output) -> tuple[Input, ...]:
        index, height = self.committee.index(self.name), self.committee.height
        match output:
            case Propose(round=round_, header=header, valid_round=valid_round, polka=polka):
                message = self._sign(SignProposal(header, round_, valid_round, index, polka))
                return () if message is None else (ProposalReceived(message),)
            case SendPrevote(round=round_, value_id=value_id, valid_round=valid_round):
                message = self._sign(SignPrevote(height, round_, value_id, valid_round, index))
                return () if message is None else (VoteReceived(message),)
            case SendPrecommit(round=round_, value_id=value_id, lock_cert=cert, lock_header=header):
                message = self._sign(SignPrecommit(height, round_, value_id, index, cert, header))
                return () if message is None else (VoteReceived(message),)
            case PublishPolka(cert=cert) | PublishCommit(cert=cert):
                self.sent.append(cert)
            case LeaveCollect():
                self._sign(SignAvail(height, 0, index, (), 1))
                return (CollectEnded(),)
        return ()

    def _sign(self, request: SignRequest):
        signed = decide(self.record, request, self.committee.key(self.name), CHAIN_ID)
        if not isinstance(signed, Signed):
            return None
        self.record = signed.record
        self.sent.append(signed.message)
        return signed.message
