"""A run in words, for whoever reads a failure."""

from __future__ import annotations

from collections.abc import Callable

from p2pfed.node import events
from p2pfed.node.events import Event
from p2pfed.sim.scenario import Scenario
from p2pfed.types.availability import AvailMessage
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.pledge import Pledge
from p2pfed.types.transaction import Transfer
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, Digest, PeerRecords, ProposalMessage

Witness = Callable[[int, int, str], None]  # (virtual ms, peer, what happened)
Name = Callable[[bytes], str]  # A public key -> who that is.

LINES_MAX = 300  # Of a transcript: the last ones tell how it broke.
_KINDS: dict[type, str] = {
    UpdateHeader: "update", Pledge: "pledge", AvailMessage: "avail", ProposalMessage: "proposal",
    Prevote: "prevote", Precommit: "precommit", PolkaCert: "polka", CommitCert: "commit",
    Transfer: "transfer", Digest: "digest", PeerRecords: "records",
}  # fmt: skip


def kind_of(message: ControlMessage) -> str:
    """Return the name by which filters know a message."""
    return _KINDS.get(type(message), "evidence")


def words(event: Event, name: Name) -> str:
    """Return an event in words, "" where nobody wants to read of it."""
    match event:
        case events.MessageReceived(peer=peer, message=message):
            if isinstance(message, Digest | PeerRecords):
                return ""
            return f"hears {_said(message, name)} from {name(peer)}"
        case events.TimerFired(timer=timer):
            is_dull = timer.kind in ("gossip", "sync")
            return "" if is_dull else f"waited for {timer.kind} {timer.height}/{timer.round} long enough"
        case events.PeerDisconnected(peer=peer):
            return f"lost {name(peer)}"
        case events.PeerConnected(peer=peer):
            return f"met {name(peer)}"
        case events.PeerMisbehaved(peer=peer, fault=fault):
            return f"gets from {name(peer)} what is no message: {fault}"
        case events.Trained():
            return f"trained from height {event.base_height}"
        case events.PayloadFetched():
            return f"has payload {event.update_id.hex()[:6]}{'' if event.is_valid else ', which is invalid'}"
        case events.BodyFetched():
            return f"has the body of {event.header.value_id.hex()[:6]}"
        case events.ProposalBuilt():
            return f"built {event.header.value_id.hex()[:6]} for round {event.round}"
        case events.ProposalChecked():
            return f"checked {event.value_id.hex()[:6]}: {event.refusal or 'valid'}"
        case events.BlocksFetched():
            return f"got {len(event.blocks)} blocks from {name(event.peer)}"
        case events.ModelFetched():
            return f"got {'no' if event.model is None else 'the'} model of height {event.height}"
        case events.Started():
            return "starts"
    return ""


def describe(scenario: Scenario) -> list[str]:
    """Return what a scenario is, line by line; its parts have the numbers of `keep`."""
    liars = ", ".join(scenario.byzantine) or "none"
    head = f"seed {scenario.seed}: {scenario.peers} peers, {scenario.heights} heights, liars: {liars}"
    parts = [f"fault {number}: {part}" for number, part in enumerate(scenario.parts)]
    return [*([scenario.about] if scenario.about else []), head, *parts]


class Transcript:
    """A witness that writes down what it sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def __call__(self, virtual_ms: int, peer: int, text: str) -> None:
        if not text:
            return
        self._count += 1
        self.lines.append(f"{virtual_ms:>7} peer {peer} {text}")
        if len(self.lines) > 2 * LINES_MAX:
            del self.lines[:LINES_MAX]

    def tail(self) -> list[str]:
        """Return the last lines, with a note of how many came before."""
        left_out = self._count - min(LINES_MAX, len(self.lines))
        first = [f"… {left_out} lines before"] if left_out > 0 else []
        return [*first, *self.lines[-LINES_MAX:]]


def _said(message: ControlMessage, name: Name) -> str:
    match message:
        case UpdateHeader():
            who, base = name(message.trainer), message.base_height
            return f"update {message.update_id.hex()[:6]} of {who} from height {base}"
        case Pledge():
            return f"pledge of {name(message.trainer)} from height {message.base_height}"
        case AvailMessage(avail=avail):
            return f"availability of {avail.count} updates at {avail.height} by {avail.validator_index}"
        case ProposalMessage(proposal=said, polka=polka):
            again = f" again, valid in round {said.valid_round}" if said.valid_round >= 0 else ""
            proof = " with its polka" if polka is not None else ""
            place = f"{said.height}/{said.round} by {said.validator_index}"
            return f"proposal {place} of {_short(said.value_id)}{again}{proof}"
        case Prevote():
            place = f"{message.height}/{message.round} by {message.validator_index}"
            return f"prevote {place} for {_short(message.value_id)}"
        case Precommit():
            place = f"{message.height}/{message.round} by {message.validator_index}"
            return f"precommit {place} for {_short(message.value_id)}"
        case PolkaCert() | CommitCert():
            kind = "polka" if isinstance(message, PolkaCert) else "commit"
            return f"{kind} {message.height}/{message.round} of {_short(message.value_id)}"
        case Transfer():
            return f"transfer of {message.amount}"
    return f"evidence: {type(message).__name__}"


def _short(value_id: bytes | None) -> str:
    return "nil" if value_id is None else value_id.hex()[:6]
