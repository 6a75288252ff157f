"""The laws of a run of cores, checked from outside after every event, by code of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from p2pfed.consensus import io
from p2pfed.errors import PeerFault, WrongHeight
from p2pfed.sim.cores.convict import Signed, offences
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Amnesia, DuplicateProposal, DuplicateVote, Evidence
from p2pfed.types.proposal import Proposal
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import ProposalMessage

if TYPE_CHECKING:
    from p2pfed.sim.cores.core import Core, Spoken
    from p2pfed.sim.cores.schedule import Schedule

# A core keeps at most two votes of a sender, kind and round; rounds reach a little above its own.
ROUNDS_KEPT_AHEAD = 9


_STEPS: dict[type[Signed], int] = {Proposal: 1, Prevote: 2, Precommit: 3}


class Checkers:
    """`violations` holds what broke a law, `forks` the heights with two decisions."""

    def __init__(self, schedule: Schedule, powers: tuple[int, ...]) -> None:
        self.violations: list[str] = []
        self.forks: set[int] = set()
        self.round_max = 0  # Of honest cores.
        self.locks_moved = 0  # Locks that went to a later round of one height.
        self.locks_changed = 0  # ... and to another value.
        self.framed: set[int] = set()
        self.signed_by_all: dict[Signed, None] = {}
        self.valid_values: set[bytes] = set()
        self._is_safe = schedule.is_safe
        self._liars = frozenset(index for index, _ in schedule.liars)
        self._powers = powers
        self._final: dict[int, bytes] = {}
        self._places: dict[int, tuple[int, int, int]] = {}
        self._locks: dict[int, tuple[int, int, bytes | None]] = {}
        self._good_certs: set[PolkaCert | CommitCert] = set()

    def signed(self, core: Core, message: Signed) -> None:
        """A liar used its key; an honest signature counts once it leaves, since a crash may come before."""
        if core.index in self._liars:
            self.signed_by_all[message] = None

    def leaves(self, core: Core, message: Spoken) -> None:
        """What an honest core says is on its disk, and above all it ever said; a certificate is one."""
        if type(message) is PolkaCert or type(message) is CommitCert:
            if core.index not in self._liars and not self.is_quorum_of_votes(message):
                self._fail(core, f"it publishes a certificate that is none: {message}")
            return
        spoken = message.proposal if type(message) is ProposalMessage else message
        if spoken in self.signed_by_all:
            return  # Again, after a restart.
        self.signed_by_all[spoken] = None
        if core.index in self._liars:
            return
        disk = core.disk
        if message not in (disk.prevote, disk.precommit, disk.proposal):
            self._fail(core, f"it spoke before that was durable: {message}")
        step = _STEPS[type(spoken)]
        place = (spoken.height, spoken.round, step)
        before = self._places.get(core.index, (0, -1, 0))
        if place <= before:
            self._fail(core, f"it says {spoken} after {before}")
        self._places[core.index] = place
        if spoken.validator_index != core.index:
            self._fail(core, f"it signed as {spoken.validator_index}")

    def crashed(self, core: Core) -> None:
        """What was not durable was never said: the lock on disk is the one that counts."""
        if core.index not in self._liars:
            disk = core.disk
            value_id = None if disk.lock_cert is None else disk.lock_cert.value_id
            self._locks[core.index] = (disk.height, disk.lock_round, value_id)

    def decided(self, core: Core, cert: CommitCert) -> None:
        """One value a height on all honest disks, valid, with a certificate."""
        if core.index in self._liars:
            return
        if not self.is_quorum_of_votes(cert):
            self._fail(core, f"it decides without a quorum: {cert}")
        if cert.value_id not in self.valid_values:
            self._fail(core, "it decides what is not valid")
        if len(core.commits) != cert.height:
            self._fail(core, f"it decides height {cert.height} as number {len(core.commits)}")
        final = self._final.setdefault(cert.height, cert.value_id)
        if final != cert.value_id:
            self.forks.add(cert.height)
            core.world.is_over = True
            if self._is_safe:
                self._fail(core, f"a fork at height {cert.height}")

    def halted(self, core: Core, output: io.SafetyViolated) -> None:
        if core.index in self._liars:
            return
        if output.other is None or self._is_safe:
            self._fail(core, f"it halts: {output}")
        else:  # Two certificates, one core: a fork that it saw itself.
            self.forks.add(output.cert.height)
            core.world.is_over = True

    def accused(self, core: Core, evidence: Evidence) -> None:
        """Evidence of an honest engine is against a liar."""
        assert isinstance(evidence, DuplicateVote | DuplicateProposal | Amnesia)  # An engine sees no update.
        said = evidence.precommit if isinstance(evidence, Amnesia) else evidence.first
        index = said.validator_index
        if core.index not in self._liars and index not in self._liars:
            self.framed.add(index)
            self._fail(core, f"it accuses an honest validator: {evidence}")

    def blamed(self, core: Core, sender: int, fault: PeerFault) -> None:
        """The honest find no fault with each other, but for a message of a far round."""
        others = core.world.cores
        if (
            core.index not in self._liars
            and others[sender].index not in self._liars
            and not isinstance(fault, WrongHeight)
        ):
            self._fail(core, f"it blames honest {others[sender].index}: {fault}")

    def round_began(self, core: Core, round_: int) -> None:
        if core.index not in self._liars and round_ > self.round_max:
            self.round_max = round_

    def after(self, core: Core) -> None:
        """After every event: the lock never goes down within a height, also across restarts."""
        if core.index in self._liars or not core.is_up:
            return
        engine = core.engine
        height, locked_round = engine.height, engine.locked_round
        before = self._locks.get(core.index)
        if before is not None and before[0] == height:
            if locked_round == before[1]:
                return
            if locked_round < before[1]:
                self._fail(core, f"its lock of height {height} went from {before[1]} to {locked_round}")
            elif before[1] >= 0:
                self.locks_moved += 1
                self.locks_changed += engine.locked_value != before[2]
        elif before is not None and height < before[0]:
            self._fail(core, f"it went from height {before[0]} to {height}")
        self._locks[core.index] = (height, locked_round, engine.locked_value)
        votes_max = 4 * len(self._powers) * (max(self.round_max, 0) + ROUNDS_KEPT_AHEAD)
        if engine.votes_held > votes_max:
            self._fail(core, f"it keeps {engine.votes_held} votes, more than {votes_max}")

    def finish(self, heard: Iterable[Spoken]) -> tuple[int, int] | None:
        """After the run: nobody honest can be convicted by all that was ever signed.

        Return, for a fork, the power that E1 and E2 convict by what honest cores signed or `heard`, and the
        power that E1 alone does.
        """
        found = offences(self.signed_by_all)
        for index in sorted(found.keys() - self._liars):
            self.framed.add(index)
            self.violations.append(f"honest validator {index} can be convicted of {sorted(found[index])}")
        if not self.forks:
            return None
        known = {vote: None for message in heard for vote in _words_of(message) if vote in self.signed_by_all}
        known |= {vote: None for vote in self.signed_by_all if vote.validator_index not in self._liars}
        found = offences(known)
        convicted = self.power_of(index for index, said in found.items() if said & {"E1", "E2"})
        return convicted, self.power_of(index for index, said in found.items() if "E1" in said)

    def power_of(self, indices: Iterable[int]) -> int:
        return sum(self._powers[index] for index in indices)

    def is_quorum_of_votes(self, cert: PolkaCert | CommitCert) -> bool:
        """Answer whether votes that were really signed stand behind `cert`, with more than two thirds."""
        if cert in self._good_certs:
            return True
        words = _words_of(cert)
        power = self.power_of([word.validator_index for word in words])
        signers = int.from_bytes(cert.bitmap, "little").bit_count()
        if signers != len(cert.signatures) or 3 * power <= 2 * sum(self._powers):
            return False
        if not self.signed_by_all.keys() >= set(words):
            return False
        self._good_certs.add(cert)
        return True

    def _fail(self, core: Core, text: str) -> None:
        self.violations.append(f"core {core.index}: {text}")
        core.world.is_over = True


def _words_of(message: Spoken) -> list[Signed]:
    """Return what validators signed inside a message; of a certificate, as many as it names and holds."""
    if type(message) is Prevote or type(message) is Precommit:
        return [message]
    if type(message) is ProposalMessage:
        return [message.proposal, *(_words_of(message.polka) if message.polka is not None else [])]
    bits = int.from_bytes(message.bitmap, "little")
    signers = [index for index in range(bits.bit_length()) if bits >> index & 1]
    pairs = zip(signers, message.signatures, strict=False)
    if type(message) is PolkaCert:
        place = (message.height, message.round, message.value_id, message.valid_round)
        return [Prevote(*place, index, signature) for index, signature in pairs]
    return [
        Precommit(message.height, message.round, message.value_id, index, signature)
        for index, signature in pairs
    ]
