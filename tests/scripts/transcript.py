"""Run a transcript: lines that start with `>` are inputs, those below each are all that one peer does then.

`start A` names the peer. A proposes in round 0, B in round 1, and so on; four validators of power one.
A value is named by a letter and belongs to the round and proposer that first propose it. The peer hears its
own messages, as in a node. To write down what the code does now, run in the folder `tests`:
`python -m scripts.transcript scripts/*.txt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support.consensus import Committee, Peer

from p2pfed.consensus.io import (
    CollectEnded,
    CommitReceived,
    Decided,
    FoundEvidence,
    GetValue,
    Input,
    LeaveCollect,
    LocalValue,
    NeedValue,
    NewRound,
    Output,
    PolkaReceived,
    ProposalReceived,
    Propose,
    PublishCommit,
    PublishPolka,
    SafetyViolated,
    Schedule,
    SendPrecommit,
    SendPrevote,
    TimeoutFired,
    ValueReady,
    VoteReceived,
)
from p2pfed.errors import PeerFault
from p2pfed.types.block import Header


class Transcript:
    """One peer and the names of the values it hears of."""

    def __init__(self) -> None:
        self.committee = Committee()
        self.peer = Peer(self.committee, "A")
        self.headers: dict[str, Header] = {}

    def run(self, text: str) -> str:
        """Return `text` with the answers that the code gives."""
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith("start "):
                self.peer = Peer(self.committee, line.split()[1])
            if line.startswith(("start ", "#")) or not line:
                lines.append(line)
            elif line.startswith(">"):
                lines += [line, *self._answers(line[1:].split())]
        return "\n".join(lines) + "\n"

    def _answers(self, words: list[str]) -> list[str]:
        try:
            outputs = self.peer.restart() if words == ["restart"] else self.peer.take(self._input(words))
        except PeerFault as fault:
            return [f"  refused: {type(fault).__name__}"]
        return [f"  {self._show(output)}" for output in outputs] or ["  nothing"]

    def _input(self, words: list[str]) -> Input:
        verb = words[0]
        named = dict(word.split("=") for word in words if "=" in word)
        plain = [word for word in words[1:] if "=" not in word]
        valid_round = int(named.get("vr", -1))
        committee = self.committee
        match verb, plain:
            case "collected", []:
                return CollectEnded()
            case "proposal", [round_, name]:
                header = self._header(name, int(round_))
                voters = named.get("polka")
                polka = committee.polka(voters, valid_round, header.value_id) if voters else None
                return ProposalReceived(committee.proposal(int(round_), header, valid_round, polka))
            case "prevote", [voter, round_, name]:
                return VoteReceived(committee.prevote(voter, int(round_), self._id(name), valid_round))
            case "precommit", [voter, round_, name]:
                return VoteReceived(committee.precommit(voter, int(round_), self._id(name)))
            case "polka", [voters, round_, name]:
                return PolkaReceived(committee.polka(voters, int(round_), self._id(name), valid_round))
            case "commit", [voters, round_, name]:
                return CommitReceived(committee.commit(voters, int(round_), self._id(name)))
            case (("valid" | "invalid"), [name]):
                return ValueReady(self._id(name), verb == "valid")
            case "built", [round_, name]:
                return LocalValue(int(round_), self._header(name, int(round_)))
            case "timeout", [kind, round_]:
                return TimeoutFired(kind, int(round_))
        raise ValueError(f"no such input: {' '.join(words)}")

    def _header(self, name: str, round_: int) -> Header:
        return self.headers.setdefault(name, self.committee.header(round_, salt=ord(name)))

    def _id(self, name: str) -> bytes | None:
        return None if name == "nil" else self._header(name, 0).value_id

    def _value(self, value_id: bytes | None) -> str:
        names = [name for name, header in self.headers.items() if header.value_id == value_id]
        return names[0] if names else "nil"

    def _show(self, output: Output) -> str:
        match output:
            case NewRound(round=round_):
                return f"round {round_}"
            case LeaveCollect():
                return "leave collect"
            case GetValue(round=round_):
                return f"build a value for round {round_}"
            case NeedValue(value_id=value_id):
                return f"check {self._value(value_id)}"
            case Propose(round=round_, header=header, valid_round=valid_round, polka=polka):
                beside = "" if polka is None else " with its polka"
                return f"propose {round_} {self._value(header.value_id)} vr={valid_round}{beside}"
            case SendPrevote(round=round_, value_id=None):
                return f"prevote {round_} nil"
            case SendPrevote(round=round_, value_id=value_id, valid_round=valid_round):
                return f"prevote {round_} {self._value(value_id)} vr={valid_round}"
            case SendPrecommit(round=round_, value_id=value_id):
                return f"precommit {round_} {self._value(value_id)}"
            case Schedule(kind=kind, round=round_, delay_ms=delay_ms):
                return f"wait for {kind} {round_}, {delay_ms} ms"
            case PublishPolka(cert=cert):
                return f"publish polka {cert.round} {self._value(cert.value_id)}"
            case PublishCommit(cert=cert):
                return f"publish commit {cert.round} {self._value(cert.value_id)}"
            case Decided(cert=cert, is_ready=is_ready):
                return f"decide {self._value(cert.value_id)}" + ("" if is_ready else ", not checked yet")
            case SafetyViolated(cert=cert, other=other):
                against = "our check" if other is None else self._value(other.value_id)
                return f"halt: {self._value(cert.value_id)} against {against}"
            case FoundEvidence(evidence=evidence):
                culprit = self.committee.name(evidence.first.validator_index)
                return f"evidence: {type(evidence).__name__} by {culprit}"
        raise AssertionError(output)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        if "\nnetwork " not in path.read_text():  # Those are `scripts.network`'s.
            path.write_text(Transcript().run(path.read_text()))
