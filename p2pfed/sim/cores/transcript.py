"""A run in numbers, for its trace, and in words, for whoever reads a failure."""

from __future__ import annotations

from p2pfed.consensus import io
from p2pfed.sim.cores.core import CollectDue, Message
from p2pfed.sim.cores.schedule import Fault, Schedule
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

LINES_MAX = 400  # Of a transcript: the last ones tell how it broke.
INPUT_NUMBERS: dict[type, int] = {
    CollectDue: 1, io.ValueReady: 2, io.LocalValue: 3, io.TimeoutFired: 4,
}  # fmt: skip


def told(message: Message) -> str:
    """Return a message in words."""
    match message:
        case ProposalMessage(proposal=said, polka=polka):
            word = f"{_name(said.value_id)} vr {said.valid_round}{' with polka' if polka is not None else ''}"
            return f"proposal {said.height}/{said.round} of {said.validator_index}: {word}"
        case Prevote():
            word = f"{_name(message.value_id)} vr {message.valid_round}"
            return f"prevote {message.height}/{message.round} of {message.validator_index}: {word}"
        case Precommit():
            word = _name(message.value_id)
            return f"precommit {message.height}/{message.round} of {message.validator_index}: {word}"
        case PolkaCert() | CommitCert():
            kind = "polka" if isinstance(message, PolkaCert) else "commit"
            return f"{kind} {message.height}/{message.round}: {_name(message.value_id)}"
    return f"question of height {message.height}"


def describe(schedule: Schedule) -> list[str]:
    """Return what a schedule is, line by line."""
    liars = ", ".join(f"{index} {kind}" for index, kind in schedule.liars) or "none"
    head = f"seed {schedule.seed}: {schedule.peers} cores, liars: {liars}; healed at {schedule.heal_ms} ms"
    return [head, *(f"fault {number}: {_fault(fault)}" for number, fault in enumerate(schedule.faults))]


def _fault(fault: Fault) -> str:
    parts = [f"{fault.kind} from {fault.from_ms} to {fault.until_ms} ms"]
    if fault.peers:
        parts.append(f"peers {list(fault.peers)}")
    if fault.messages:
        parts.append(" and ".join(fault.messages))
    return ", ".join([*parts, f"share {fault.share:.2f}", f"amount {fault.amount}"])


def _name(value_id: bytes | None) -> str:
    return "nil" if value_id is None else value_id.hex()[:6]


class Transcript:
    """A witness that writes down what it sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, now_ms: int, slot: int, text: str) -> None:
        self.lines.append(f"{now_ms:>7} core {slot} {text}")

    def tail(self) -> list[str]:
        """Return the last lines, with a note of how many came before."""
        left_out = len(self.lines) - LINES_MAX
        first = [f"… {left_out} lines before"] if left_out > 0 else []
        return [*first, *self.lines[-LINES_MAX:]]
