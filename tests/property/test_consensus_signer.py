"""Whatever a signer is asked, in any order and across restarts, its words never contradict each other."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.consensus import CHAIN_ID, Committee

from p2pfed.consensus.signer import (
    Refused,
    SignAvail,
    SignPrecommit,
    SignPrevote,
    SignProposal,
    SignRequest,
    SignUpdate,
    decide,
    decode_record,
    initial_record,
)
from p2pfed.primitives.codec import encode
from p2pfed.types.availability import AvailMessage
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

COMMITTEES = [Committee(height=height) for height in (1, 2, 3)]
KEY = COMMITTEES[0].key("A")
HEADERS = {c.height: [c.header(salt=salt) for salt in range(2)] for c in COMMITTEES}
HEIGHTS, ROUNDS, VALUES = st.integers(1, 3), st.integers(0, 3), st.integers(-1, 1)
POLKAS = {
    (c.height, round_, salt): c.polka("ABC", round_, HEADERS[c.height][salt].value_id)
    for c in COMMITTEES
    for round_ in range(4)
    for salt in range(2)
}


class SignerMachine(RuleBasedStateMachine):
    """A liar drives our signer; the model is the list of everything that ever left it."""

    @initialize()
    def start(self) -> None:
        self.record = initial_record()
        self.left: dict[tuple[object, ...], object] = {}
        self.newest: dict[str, tuple[int, ...]] = {}
        self.lock: tuple[int, int] = (0, -1)

    def ask(self, request: SignRequest) -> object | None:
        answer = decide(self.record, request, KEY, CHAIN_ID)
        if isinstance(answer, Refused):
            return None
        if not answer.is_new:
            assert answer.record == self.record
        self.record = answer.record
        place = self.place(answer.message)
        assert self.left.setdefault(place, answer.message) == answer.message
        if answer.is_new:
            slot = "vote" if isinstance(place[0], int) else str(place[0])
            order = tuple(part for part in place if isinstance(part, int))
            assert order > self.newest.get(slot, (-1,))
            self.newest[slot] = order
        return answer.message if answer.is_new else None

    def place(self, message: object) -> tuple[object, ...]:
        match message:
            case ProposalMessage(proposal=proposal):
                return proposal.height, proposal.round, 1
            case Prevote():
                return message.height, message.round, 2
            case Precommit():
                return message.height, message.round, 3
            case AvailMessage(avail=avail):
                return "avail", avail.height, avail.attempt
            case UpdateHeader():
                return "update", message.base_height
        raise AssertionError(message)

    @rule(height=HEIGHTS, round_=ROUNDS, salt=st.integers(0, 1))
    def propose(self, height: int, round_: int, salt: int) -> None:
        self.ask(SignProposal(HEADERS[height][salt], round_, -1, 0, None))

    @rule(height=HEIGHTS, round_=ROUNDS, salt=VALUES, valid_round=st.integers(-1, 2))
    def prevote(self, height: int, round_: int, salt: int, valid_round: int) -> None:
        value_id = None if salt < 0 else HEADERS[height][salt].value_id
        if value_id is None:
            valid_round = -1
        message = self.ask(SignPrevote(height, round_, value_id, valid_round, 0))
        if message is not None and value_id is not None and self.lock[0] == height:
            assert valid_round >= self.lock[1]

    @rule(height=HEIGHTS, round_=ROUNDS, salt=VALUES)
    def precommit(self, height: int, round_: int, salt: int) -> None:
        if salt < 0:
            self.ask(SignPrecommit(height, round_, None, 0, None, None))
            return
        header = HEADERS[height][salt]
        cert = POLKAS[height, round_, salt]
        message = self.ask(SignPrecommit(height, round_, header.value_id, 0, cert, header))
        if message is not None:
            self.lock = (height, round_)

    @rule(height=HEIGHTS, attempt=st.integers(0, 1), ids=st.integers(0, 2))
    def avail(self, height: int, attempt: int, ids: int) -> None:
        held = tuple(bytes([number]) * 32 for number in range(ids))
        self.ask(SignAvail(height, attempt, 0, held, 1))

    @rule(base_height=HEIGHTS, salt=st.integers(0, 255))
    def update(self, base_height: int, salt: int) -> None:
        self.ask(SignUpdate(base_height, bytes(32), 8, bytes([salt]) * 32, 0, 1))

    @rule()
    def restart(self) -> None:
        self.record = decode_record(encode(self.record))

    @invariant()
    def the_record_knows_the_lock(self) -> None:
        if self.lock[0] == self.record.height:
            assert self.record.lock_round == self.lock[1]
            assert (self.record.lock_cert is None) == (self.lock[1] < 0)
        else:
            assert self.record.lock_round == -1


SignerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSigner = SignerMachine.TestCase
