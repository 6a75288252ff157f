"""Compare stores of one network and convict whoever made them differ: `p2pfed verify --audit`.

A correct peer never signs both branches, and its own store holds only one. The union of two stores holds the
votes of both quorums, and more than a third of the stake is in both (docs/spec/consensus.md, V4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from msgspec import Struct, field

from p2pfed.chain.evidence import conviction_of, duplicate_update
from p2pfed.chain.state import ChainState
from p2pfed.consensus.certificates import verify_commit, verify_polka
from p2pfed.consensus.evidence import duplicate_avail
from p2pfed.consensus.vote_keeper import VoteKeeper
from p2pfed.errors import InvalidCertificate, MalformedMessage, PeerFault
from p2pfed.ledger.module import Convict
from p2pfed.storage.block_store import BlockStore
from p2pfed.storage.home import Home
from p2pfed.storage.scan import Problem
from p2pfed.types.availability import Avail, signed_avail
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block
from p2pfed.types.certificate import CommitCert, PolkaCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.update import UpdateHeader


class Fork(Struct, frozen=True):
    """Two stores hold different final blocks of `height`, the first one where they differ.

    `common` are the keys that signed both certificates. In two rounds that is lawful after an unlock, so
    without the polkas in between it proves nothing: people must ask those keys for them.
    """

    height: int
    home: Home  # The other one.
    ours: CommitCert
    theirs: CommitCert
    common: tuple[bytes, ...]


class Proof(Struct, frozen=True):
    """A lie that the stores show together; `power` is the culprit's among the validators of its height."""

    convict: Convict
    evidence: Evidence
    power: int


class ForkReport(Struct):
    """Where stores differ, who is proven to have lied, and what in the other stores can't be right."""

    forks: list[Fork] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    total_power: int = 0  # Of the validators of the first fork.
    problems: list[Problem] = field(default_factory=list)

    @property
    def convicted_power(self) -> int:
        """Return the power of everybody convicted, each key once."""
        return sum({proof.convict.culprit: proof.power for proof in self.proofs}.values())


def compare(own: Home, others: Sequence[Home], state: ChainState) -> ForkReport:
    """Compare the stores of `others` with that of `own`; nothing is changed, and peers may run meanwhile.

    Args:
        own: The home that was audited.
        others: Homes of the same network. Nothing in them is trusted: what counts is what verifies.
        state: The state after the newest block of `own` that holds.

    Raises:
        LocalError: There is no chain in one of the homes, or it is another network's.
        StorageFault: One of the stores can't be read.
    """
    report = ForkReport()
    with ExitStack() as stack:
        stores = [
            stack.enter_context(closing(BlockStore(home.chain_db, state.chain_id, read_only=True)))
            for home in (own, *others)
        ]
        ours = stores[0]
        shared: list[tuple[BlockStore, Home, int]] = [(ours, own, state.height)]
        for home, theirs in zip(others, stores[1:], strict=True):
            fork = _fork(ours, theirs, home, state, report)
            if fork is not None:
                report.forks.append(fork)
            shared.append((theirs, home, fork.height if fork else min(state.height, theirs.height)))
        report.forks.sort(key=lambda fork: fork.height)
        if report.forks:
            validators = state.validators_at(report.forks[0].height)
            report.total_power = validators.total_power if validators else 0
        first = state.genesis.params.height_first
        for height in range(first, max((height for _, _, height in shared[1:]), default=0) + 1):
            at = [(store, home) for store, home, last in shared if store.base <= height <= last]
            _convict(height, at, state, report)
    return report


def _first(ours: BlockStore, theirs: BlockStore, state: ChainState) -> int:
    """Return the first height that both may hold: a store that began with a snapshot has none before it."""
    return max(ours.base, theirs.base, state.genesis.params.height_first)


def _fork(
    ours: BlockStore, theirs: BlockStore, home: Home, state: ChainState, report: ForkReport
) -> Fork | None:
    """Return where the two chains part. Another block without a good certificate is damage, no fork."""
    for height in range(_first(ours, theirs, state), min(state.height, theirs.height) + 1):
        mine, other = ours.header(height), theirs.header(height)
        if mine == other:
            continue
        block, own = theirs.block(height), ours.block(height)
        where = f"{home.path}: blocks {height}"
        validators = state.validators_at(height)
        if block is None or own is None or validators is None:
            report.problems.append(Problem("a block", where, "one that can be compared", "none, or too old"))
            return None
        try:
            if (block.commit.height, block.commit.value_id) != (height, block.header.value_id):
                raise InvalidCertificate("a certificate of another block")
            verify_commit(block.commit, validators, state.chain_id)
        except PeerFault as fault:
            report.problems.append(Problem("another block than ours", where, "a certificate", str(fault)))
            return None
        certs, size = (own.commit, block.commit), len(validators)
        both = frozenset.intersection(*(frozenset(indices_of(cert.bitmap, size)) for cert in certs))
        common = tuple(validators.validators[index].key for index in sorted(both))
        return Fork(height, home, own.commit, block.commit, common)
    return None


def _convict(
    height: int, stores: Sequence[tuple[BlockStore, Home]], state: ChainState, report: ForkReport
) -> None:
    """Put together what the stores hold of one height, and keep each proof; one for each key and kind."""
    validators = state.validators_at(height)
    if validators is None:
        return  # Nobody remembers who voted; evidence of that age convicts nobody.
    votes, lies = VoteKeeper(validators), list[Evidence]()
    seen: set[PolkaCert | CommitCert] = set()
    blocks: dict[bytes, Block] = {}
    for store, home in stores:
        for cert in _certificates(store, height):
            if cert in seen:
                continue
            seen.add(cert)
            try:
                if isinstance(cert, PolkaCert):
                    verify_polka(cert, validators, state.chain_id)
                    lies += votes.add_polka(cert)
                else:
                    verify_commit(cert, validators, state.chain_id)
                    lies += votes.add_commit(cert)
            except PeerFault as fault:
                where = f"{home.path}: height {height}"
                report.problems.append(Problem("a certificate", where, "signatures of a quorum", str(fault)))
        block = store.block(height)
        if block is not None:
            blocks.setdefault(block.header.value_id, block)
    lies += _lies_in_bodies(tuple(blocks.values()))
    for lie in lies:
        try:
            convict = conviction_of(state, lie)
        except PeerFault:
            continue  # A block of another store was never checked: it may name signatures that nobody made.
        name = (convict.culprit, convict.offence)
        if all((proof.convict.culprit, proof.convict.offence) != name for proof in report.proofs):
            index = validators.index_of(convict.culprit)
            power = 0 if index is None else validators.validators[index].power
            report.proofs.append(Proof(convict, lie, power))


def _certificates(store: BlockStore, height: int) -> Iterator[PolkaCert | CommitCert]:
    """Yield every certificate of `height`: its polkas, its block's, and the one in the block after it."""
    yield from store.polkas(height)
    block, after = store.block(height), store.block(height + 1)
    if block is not None and block.commit.height == height:
        yield block.commit
    if after is not None and after.body.last_commit is not None and after.body.last_commit.height == height:
        yield after.body.last_commit


def _lies_in_bodies(blocks: Sequence[Block]) -> Iterator[Evidence]:
    """Yield what different blocks of one height show: two availability votes, two updates of one key."""
    avails: dict[tuple[int, int], Avail] = {}
    updates: dict[tuple[bytes, int], UpdateHeader] = {}
    for block in blocks:
        for entry in block.body.avails:
            try:
                avail = signed_avail(block.header.height, block.body.candidates, entry)
            except MalformedMessage:
                continue
            first = avails.setdefault((avail.validator_index, avail.attempt), avail)
            if first.body() != avail.body():
                yield duplicate_avail(first, avail)
        for update in block.body.updates:
            known = updates.setdefault((update.trainer, update.base_height), update)
            if known.update_id != update.update_id:
                yield duplicate_update(known, update)
