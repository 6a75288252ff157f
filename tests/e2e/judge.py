"""What must hold whoever is killed and when: the others go on, the peer returns, nobody signs twice."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from e2e.support import PATIENCE_S, Network, Peer, p2pfed, tracebacks, wait_until

from p2pfed.cli.reading import open_chain, stored_ledger
from p2pfed.consensus.certificates import precommits_of, prevotes_of
from p2pfed.consensus.evidence import claim_of
from p2pfed.consensus.signer import SignRecord, decode_record
from p2pfed.consensus.timeouts import PRESETS
from p2pfed.ledger.modules.staking import StakingState
from p2pfed.primitives import codec
from p2pfed.runtime.peer import read_genesis
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.home import Home
from p2pfed.storage.vote_state import VoteStateFile
from p2pfed.types.bitmap import indices_of
from p2pfed.types.certificate import CommitCert
from p2pfed.types.update import UpdateHeader
from p2pfed.types.vote import Vote

LOCAL = PRESETS["local"]
SLACK_MS = 2_000
GAP_MS_MAX = LOCAL.collect_cap_ms + LOCAL.propose_ms(0) + SLACK_MS
BACK_MS_MAX = {"tcp": 5_000, "libp2p": 15_000}  # From the start of the process.
BLOCKS_WATCHED = 5  # A turn of all four proposers and one more: the dead one's slot is among them.


def slowness() -> float:
    """Return how much longer than alone everything takes here: what runs beside the test is not its fault."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def worst_gap_ms(peers: Iterable[Peer], killed_ms: int, blocks: int = BLOCKS_WATCHED) -> int:
    """Return the longest that one of `peers` was without a new block, from the kill to `blocks` blocks on."""
    return max(_gap_ms(peer, killed_ms, blocks) for peer in peers)


def _gap_ms(peer: Peer, killed_ms: int, blocks: int) -> int:
    def times() -> list[int] | None:
        found = [e["time_ms"] for e in peer.events if e["event"] == "block.committed"]
        after = [time_ms for time_ms in found if time_ms >= killed_ms]
        return after[:blocks] if len(after) >= blocks else None

    moments = [killed_ms, *wait_until(times, f"{blocks} blocks of {peer.name} after the kill")]
    return max(later - earlier for earlier, later in pairwise(moments))


def wait_for_precommit(net: Network, peer: Peer, after_height: int, timeout_s: float = PATIENCE_S) -> int:
    """Return when a block whose certificate holds the precommit of `peer` was final at another peer (ms).

    Looked up on the other peers' disks, in blocks above `after_height`.
    """
    key = net.keys[net.peers.index(peer)]
    seen = {other.name: after_height for other in net.others(peer) if other.is_running}

    def look() -> int | None:
        for other in net.others(peer):
            for height in range(seen.get(other.name, other.height) + 1, other.height + 1):
                seen[other.name] = height
                if key in _signers(other.home, height):
                    return int(other.wait_for_height(height)["time_ms"])
        return None

    found: int = wait_until(look, f"a certificate with the precommit of {peer.name}", timeout_s)
    return found


def _signers(home: Home, height: int) -> frozenset[bytes]:
    """Return the keys of whose precommits the block of `height` is final."""
    with open_chain(home) as chain:
        block, staking = chain.block(height), _staking(home, chain)
    assert block is not None
    validators = staking.validators_at(height)
    assert validators is not None
    places = indices_of(block.commit.bitmap, len(validators))
    return frozenset(validators.validators[place].key for place in places)


def _staking(home: Home, chain: BlockStore) -> StakingState:
    """Return the newest ledger's stakes: they name the validators of all heights whose evidence counts."""
    return stored_ledger(home, read_genesis(home), chain.height).staking


@dataclass
class Signatures:
    """Every signature found on any disk, by what may be signed only once."""

    said: dict[tuple[object, ...], set[bytes]] = field(default_factory=dict)

    def add_home(self, home: Home) -> None:
        """Take in all that a home stores: certificates, polkas, availability votes, updates, its record."""
        if home.chain_db.exists():
            with open_chain(home) as chain:
                staking = _staking(home, chain)
                for height in range(1, chain.height + 2):
                    validators = staking.validators_at(height)
                    assert validators is not None, f"the validators of height {height} are forgotten"
                    for polka in chain.polkas(height):
                        self._votes(prevotes_of(polka, validators))
                    block = chain.block(height)
                    if block is not None:
                        self._votes(precommits_of(block.commit, validators))
                        self._last_commit(block.body.last_commit, staking)
                        for update in block.body.updates:
                            self._update(update)
        self.add_record(home)

    def add_record(self, home: Home) -> None:
        """Take in what the signer of `home` remembers: also what never left the machine."""
        data = VoteStateFile(home.vote_state).load()
        if data is None:
            return
        record: SignRecord = decode_record(data)
        self._votes(vote for vote in (record.prevote, record.precommit) if vote is not None)
        if record.proposal is not None:
            said = record.proposal.proposal
            place = ("proposal", said.height, said.round, said.validator_index)
            self._note(place, codec.encode((said.value_id, said.valid_round)))
        if record.avail is not None:
            avail = record.avail.avail
            place = ("avail", avail.height, avail.attempt, avail.validator_index)
            self._note(place, avail.list_hash)
        if record.trainer is not None:
            self._update(record.trainer)

    @property
    def contradictions(self) -> list[tuple[object, ...]]:
        """Places where one key said two different things."""
        return sorted((place for place, said in self.said.items() if len(said) > 1), key=str)

    def _last_commit(self, cert: CommitCert | None, staking: StakingState) -> None:
        validators = None if cert is None else staking.validators_at(cert.height)
        if cert is not None and validators is not None:
            self._votes(precommits_of(cert, validators))

    def _votes(self, votes: Iterable[Vote]) -> None:
        for vote in votes:
            place = (type(vote).__name__, vote.height, vote.round, vote.validator_index)
            self._note(place, codec.encode(claim_of(vote)))

    def _update(self, update: UpdateHeader) -> None:
        self._note(("update", update.base_height, update.trainer), update.update_id)

    def _note(self, place: tuple[object, ...], said: bytes) -> None:
        self.said.setdefault(place, set()).add(said)


def verdict(net: Network, signatures: Signatures) -> list[str]:
    """Return what is wrong with a network whose peers have all ended; an empty list where nothing is."""
    wrong = [f"traceback of {text}" for text in tracebacks(net.peers)]
    for peer in net.peers:
        signatures.add_home(peer.home)
        wrong += [
            f"{peer.name} saw {e}" for e in peer.events if e["event"] in ("peer.equivocated", "peer.fault")
        ]
        checked = p2pfed("verify", "--home", peer.home.path)
        if checked.returncode != 0:
            wrong.append(f"verify of {peer.name}: {checked.stdout}{checked.stderr}")
    wrong += [f"signed twice: {place}" for place in signatures.contradictions]
    hashes: dict[int, set[str]] = {}
    for peer in net.peers:
        for event in peer.events:
            if event["event"] == "block.committed":
                hashes.setdefault(event["height"], set()).add(event["value_id"])
    wrong += [f"fork at {height}" for height, found in sorted(hashes.items()) if len(found) > 1]
    return wrong
