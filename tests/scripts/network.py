"""Run a transcript of a whole simulated network: what is done to it, and what the watched peers do then.

`network N heights H` founds one, `watch 1 2` says whose lines are shown. Lines with `>` are commands:

    until P WORDS        let time pass until the peer has done what a line of it begins with
    cut P [at POINT]     cut the power of a peer (or `all`) now, or at its next passing of a crash point
    start P              start it again (or `all`)
    lose log P           its log is gone (or `all`)
    lose payload P of Q  the payload that Q sent last is gone from the disk of P
    refuse P             from now on the application of P refuses every block
    change learner P     from now on the learner of P gives another update
    finish               let time pass until all that are up have all heights; tell what broke a law

Values are named by capital letters as they appear, payloads by small ones. To write down what the code does
now, run in the folder `tests`: `python -m scripts.network scripts/*.txt`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from p2pfed.aggregation.payload import decode_payload, encode_payload
from p2pfed.chain.state import ChainState
from p2pfed.node import effects, events
from p2pfed.node.events import Event
from p2pfed.primitives.digest import sha256
from p2pfed.sim import peer as peer_module
from p2pfed.sim.log_checker import LogChecker
from p2pfed.sim.peer import SimPeer
from p2pfed.sim.scenario import Scenario
from p2pfed.sim.world import World
from p2pfed.types.availability import AvailMessage
from p2pfed.types.block import Block
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ControlMessage, ProposalMessage

PATIENCE_MS = 30_000  # Of virtual time: longer than any wait of a script.


class Network(World):
    """A world that tells what its watched peers say and do, one line each, and is driven step by step."""

    def __init__(self, peers: int, heights: int) -> None:
        super().__init__(Scenario(peers=peers, heights=heights))
        self.lines: list[str] = []
        self.watched: tuple[int, ...] = ()
        self._letters: dict[bytes, str] = {}
        self._payload_letters: dict[bytes, str] = {}
        self._said: dict[tuple[int, str], bytes] = {}  # (peer, place) -> what was said there in any life.
        self._told: set[tuple[int, int, str]] = set()  # (peer, life, line): what is not told twice.
        self._done: list[tuple[int, str]] = []
        self._halts, self.judge.halted = self.judge.halted, self.halted  # type: ignore[method-assign]
        for peer in self.peers:
            self.after(0, peer.start)

    # What happens

    def speaks(self, peer: SimPeer, message: ControlMessage) -> None:
        super().speaks(peer, message)
        own = self._own_words(peer, message)
        if own is not None:
            place, line, words = own
            before = self._said.setdefault((peer.number, place), words)
            again = "" if (peer.number, 0, line) not in self._told else " again"
            self._tell(peer, line + (again if before == words else ", and that is ANOTHER"), line)

    def told(self, peer: SimPeer, event: Event, line: str) -> None:
        super().told(peer, event, line)
        if isinstance(event, events.Trained):
            self._tell(peer, f"trained payload {self._payload_letter(event.payload_root)}")

    def stored(self, peer: SimPeer, block: Block, state: ChainState) -> None:
        super().stored(peer, block, state)
        self._tell(peer, f"stores {block.header.height} {self._letter(block.header.value_id)}")

    def halted(self, peer: SimPeer, reason: str) -> None:
        self._halts(peer, reason)
        self._tell(peer, f"stops: {self._named(reason)}")

    def died(self, peer: SimPeer, down_ms: int) -> None:
        """Leave a dead peer dead until it is started by hand."""
        point = peer.switch.struck[-1] if peer.switch.struck else ""
        self._tell(peer, f"dies at {point}" if point else "dies")
        peer.switch.struck.clear()
        self.crashes += 1
        self.judge.checkers.died(peer.public, peer.disk.load_record())
        for number in self._network.partners(peer.number):
            self.after(50, lambda number=number: self.disconnect(self.peers[number], peer.public))

    # What is done to it

    def command(self, words: list[str]) -> list[str]:
        """Carry out a command; return the lines of the watched peers since the last one."""
        self._done.clear()
        match words:
            case ["until", number, *event]:
                wanted = (int(number), " ".join(event))
                self.drive(
                    lambda: any(n == wanted[0] and line.startswith(wanted[1]) for n, line in self._done)
                )
                assert self._done, f"{' '.join(words)}: it never came"
            case ["cut", who, "at", point]:
                for peer in self._peers(who):
                    peer.switch.cut_next(point)
            case ["cut", who]:
                for peer in self._peers(who):
                    peer.kill(0)
                self.drive(lambda: False, 200)  # The others hear of it.
            case ["start", who]:
                for peer in self._peers(who):
                    self._start(peer)
            case ["lose", "log", who]:
                for peer in self._peers(who):
                    for name in peer.disk.log_files.names():
                        peer.disk.log_files.delete(name)
                    peer._log_checker = LogChecker()  # It is no fault of the log.
            case ["lose", "payload", who, "of", other]:
                self._lose_payload(self.peers[int(who)], self.peers[int(other)])
            case ["refuse", number]:
                self._refuse(self.peers[int(number)])
            case ["change", "learner", number]:
                self._change_learner(self.peers[int(number)])
            case ["finish"]:
                last = self.scenario.heights
                self.drive(lambda: all(peer.has_model_of(last) for peer in self.peers if peer.is_up))
                self.lines += [f"broken: {self._named(text)}" for text in self.judge.violations]
                self.lines.append("the heights are " + " ".join(str(peer.disk.height) for peer in self.peers))
            case _:
                raise ValueError(f"no such command: {' '.join(words)}")
        lines, self.lines = self.lines, []
        return lines

    def drive(self, is_enough: Callable[[], bool], patience_ms: int = PATIENCE_MS) -> None:
        """Let events happen until it is enough, or the patience ends."""
        end_ms = self.now_ms + patience_ms
        while not is_enough() and (action := self.agenda.pop(end_ms)) is not None:
            action()

    def _start(self, peer: SimPeer) -> None:
        peer.start()
        if not peer.is_up:
            return
        work = peer.node.work
        if peer.log_missing:
            how = f"from its vote state: {self._named(peer.log_missing)}"
        elif work is not None and work._replayed is not None:
            how = f"from its log of height {work.height}"
        else:
            how = "from its vote state"
        self.lines.insert(0, f"{peer.number} starts {how}") if peer.number in self.watched else None

    def _lose_payload(self, peer: SimPeer, sender: SimPeer) -> None:
        """Delete what the dead peer held of the sender for the height at which it died."""
        work = peer.node.work
        assert work is not None
        (header,) = (one for one in work.pool.known.values() if one.trainer == sender.public)
        del peer.disk._synced[f"blob/{header.payload_root.hex()}"]

    def _refuse(self, peer: SimPeer) -> None:
        def refuse(effect: effects.CheckProposal) -> None:
            peer.handle(
                events.ProposalChecked(effect.header.value_id, None, "the application refuses it now")
            )

        peer._check = refuse  # type: ignore[method-assign]

    def _change_learner(self, peer: SimPeer) -> None:
        def train(effect: effects.Train) -> None:
            payload, examples, _ = peer_module.train(peer._learner, effect.state, peer._left, peer.public)
            vector = np.array(decode_payload(payload, self.genesis.manifest))
            vector[0] += 1
            data = encode_payload(vector)
            root = peer.disk.put(data)
            peer.handle(events.Trained(effect.base_height, root, len(data), examples))

        peer._train = train  # type: ignore[method-assign]

    # How it is told

    def _own_words(self, peer: SimPeer, message: ControlMessage) -> tuple[str, str, bytes] | None:
        index = peer.node.state.validators.index_of(peer.public)
        match message:
            case UpdateHeader() if message.trainer == peer.public:
                place = f"update {message.base_height + 1}"
                line = f"{place} with payload {self._payload_letter(message.payload_root)}"
                return place, line, sha256(message.body())
            case AvailMessage(avail=avail) if avail.validator_index == index:
                place = f"avail {avail.height}"
                return place, f"{place} of {avail.count} updates", sha256(avail.body())
            case ProposalMessage(proposal=said) if said.validator_index == index:
                place = f"proposal {said.height}/{said.round}"
                return (
                    place,
                    f"{place} {self._letter(said.value_id)} vr={said.valid_round}",
                    sha256(said.body()),
                )
            case Prevote() if message.validator_index == index:
                place = f"prevote {message.height}/{message.round}"
                line = f"{place} {self._letter(message.value_id)} vr={message.valid_round}"
                return place, line, sha256(message.body())
            case Precommit() if message.validator_index == index:
                place = f"precommit {message.height}/{message.round}"
                return place, f"{place} {self._letter(message.value_id)}", sha256(message.body())
        return None

    def _tell(self, peer: SimPeer, line: str, once: str = "") -> None:
        """Tell a line; what a peer repeats in one life is told once."""
        key = (peer.number, peer._life, once or line)
        if once and key in self._told:
            return
        self._told |= {key, (peer.number, 0, once or line)}
        self._done.append((peer.number, line))
        if peer.number in self.watched:
            self.lines.append(f"{peer.number} {line}")

    def _letter(self, value_id: bytes | None) -> str:
        if value_id is None:
            return "nil"
        return self._letters.setdefault(value_id, chr(ord("A") + len(self._letters)))

    def _payload_letter(self, root: bytes) -> str:
        return self._payload_letters.setdefault(root, chr(ord("a") + len(self._payload_letters)))

    def _named(self, text: str) -> str:
        """Return a text with its values by their letters and its payloads by dots."""
        for value_id, letter in self._letters.items():
            text = text.replace(value_id.hex()[:12], letter)
        words = [word if len(word) < 12 or not _is_hex(word) else "…" for word in text.split(" ")]
        return " ".join(words)

    def _peers(self, who: str) -> list[SimPeer]:
        return self.peers if who == "all" else [self.peers[int(who)]]


def _is_hex(word: str) -> bool:
    return all(letter in "0123456789abcdef…:" for letter in word)


def run(text: str) -> str:
    """Return a transcript with the lines that the code gives."""
    network: Network | None = None
    lines: list[str] = []
    for line in text.splitlines():
        words = line.lstrip("> ").split()
        if line.startswith("network "):
            network = Network(int(words[1]), int(words[3]))
        elif line.startswith("watch "):
            assert network is not None
            network.watched = tuple(int(word) for word in words[1:])
        if line.startswith(">"):
            assert network is not None
            lines += [line, *(f"  {told}" for told in network.command(words) or ["nothing"])]
        elif not line.startswith(" "):
            lines.append(line)
    return "\n".join(lines) + "\n"


def is_network(text: str) -> bool:
    """Answer whether a transcript is about a whole network."""
    return any(line.startswith("network ") for line in text.splitlines())


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        if is_network(path.read_text()):
            path.write_text(run(path.read_text()))
