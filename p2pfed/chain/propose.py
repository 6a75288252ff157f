"""Build a block from what a proposer holds; its only free choice is which availability votes it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from p2pfed.aggregation.group import ParallelMap
from p2pfed.chain.check import Payloads
from p2pfed.chain.derive import Products, derive, merge_updates, merged_roots, rule_for, unchanged_roots
from p2pfed.chain.evidence import conviction_of
from p2pfed.chain.gate import chosen_words, kept_model
from p2pfed.chain.scoring import has_scores, scores_of
from p2pfed.chain.state import ChainState, after
from p2pfed.chain.update_set import supported_ids, update_set
from p2pfed.consensus.quorum import has_quorum
from p2pfed.errors import InvalidTransaction, LocalError, PeerFault
from p2pfed.ledger.execute import begin_block, execute_convictions, execute_transaction
from p2pfed.ledger.module import Context, Convict
from p2pfed.ledger.state import LedgerState
from p2pfed.primitives import codec
from p2pfed.types.availability import IDS_MAX, AvailEntry, AvailMessage
from p2pfed.types.bitmap import bitmap_of
from p2pfed.types.block import Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.params import EVIDENCE_BYTES_MAX, EVIDENCE_PER_BLOCK_MAX, TRANSACTIONS_PER_BLOCK_MAX
from p2pfed.types.quality import Quality
from p2pfed.types.scores import Scores
from p2pfed.types.transaction import Transaction
from p2pfed.types.update import UpdateHeader


class ProposalInputs(Struct, frozen=True):
    """What a proposer holds for the next height.

    avails: Verified availability votes, at most one a validator.
    headers: Every verified update header of the height.
    transactions: In the order to try them; what the ledger refuses is left out.
    evidence: Verified; what is too old or convicted already is left out.
    last_commit: A certificate of the last block, None at height 1.
    qualities: Verified words on the model of the last block, one a validator.
    """

    proposer: bytes
    avails: tuple[AvailMessage, ...]
    headers: tuple[UpdateHeader, ...]
    transactions: tuple[Transaction, ...]
    evidence: tuple[Evidence, ...]
    last_commit: CommitCert | None
    qualities: tuple[Quality, ...] = ()


class MissingUpdates(LocalError):
    """Headers of updates that the block must hold have not come yet; the proposer waits."""


def missing_headers(state: ChainState, inputs: ProposalInputs) -> tuple[bytes, ...]:
    """Return the ids, ascending, whose header the block must hold and we lack.

    Raises:
        LocalError: The availability votes have no quorum.
    """
    known = frozenset(header.update_id for header in inputs.headers)
    avails = _chosen_avails(state, inputs)
    return tuple(update_id for update_id in _supported(state, avails) if update_id not in known)


def needed_updates(state: ChainState, inputs: ProposalInputs, round0: int) -> tuple[UpdateHeader, ...]:
    """Return the updates to merge, sorted by trainer key: the payloads that `build` will ask for.

    A block that will be EMPTY needs none.

    Raises:
        MissingUpdates: See `missing_headers`.
        LocalError: The availability votes have no quorum.
    """
    headers = _supported_headers(state, inputs, _chosen_avails(state, inputs))
    updates = update_set(headers, round0)
    return updates.updates if rule_for(state, updates) else ()


def build(
    state: ChainState,
    inputs: ProposalInputs,
    round0: int,
    payloads: Payloads,
    parallel: ParallelMap = map,
    products: Products | None = None,
) -> tuple[Header, Body, ChainState]:
    """Return the block of `round0` and the state after it; `check` accepts it.

    Args:
        state: The state before the block, with its model.
        inputs: What we hold.
        round0: The round in which we propose.
        payloads: Called once for each of `needed_updates`, in order; what it raises passes through.
        parallel: How to map over groups of the model.
        products: Inner products of payloads, from whoever measured them as they came.

    Raises:
        MissingUpdates, LocalError: As `needed_updates`.
    """
    avails = _chosen_avails(state, inputs)
    headers = _supported_headers(state, inputs, avails)
    candidates = _union(avails)
    updates = update_set(headers, round0)
    context = state.context(inputs.proposer, state.time_ms + 1)  # What it runs below reads no clock.
    evidence, convictions, ledger = _chosen_evidence(state, inputs, context)
    rule, scores = rule_for(state, updates), tuple[Scores, ...]()
    model, roots = kept_model(state), unchanged_roots(state)
    if rule:
        rows = [payloads(update) for update in updates.updates]
        result = merge_updates(state, updates, rule, rows, parallel, products)
        model, roots = result.model, merged_roots(result)
        if has_scores(state, rule):
            scores = (scores_of(state, updates, rows, result, parallel, products),)
    room = TRANSACTIONS_PER_BLOCK_MAX - len(scores)
    words = chosen_words(state, inputs.qualities, room)
    room -= len(words)
    body = Body(
        avails=tuple(_entry(message, candidates) for message in avails),
        candidates=candidates,
        updates=headers,
        transactions=(*_chosen_transactions(inputs, ledger, context, room), *words, *scores),
        evidence=evidence,
        last_commit=inputs.last_commit,
    )
    header, ledger = derive(
        state, body, updates, convictions, proposer=inputs.proposer, round0=round0, roots=roots
    )
    return header, body, after(state.genesis, header, ledger, model)


def _chosen_avails(state: ChainState, inputs: ProposalInputs) -> tuple[AvailMessage, ...]:
    """Return the votes to include, by validator index: all of them while their ids fit.

    A liar may list ids that nobody else knows until no union fits. Votes with the fewest unknown ids go
    first, so the liars' are what is left out.
    """
    known = frozenset(header.update_id for header in inputs.headers)
    ordered = sorted(
        inputs.avails,
        key=lambda message: (
            sum(update_id not in known for update_id in message.update_ids),
            message.avail.validator_index,
        ),
    )
    chosen: list[AvailMessage] = []
    union: frozenset[bytes] = frozenset()
    for message in ordered:
        wider = union.union(message.update_ids)
        if len(wider) <= IDS_MAX:
            chosen.append(message)
            union = wider
    chosen.sort(key=lambda message: message.avail.validator_index)
    power = state.validators.power_of(message.avail.validator_index for message in chosen)
    if not has_quorum(power, state.validators.total_power):
        raise LocalError(
            f"availability votes of power {power} of {state.validators.total_power}: no block can be made yet"
        )
    return tuple(chosen)


def _union(avails: Iterable[AvailMessage]) -> tuple[bytes, ...]:
    return tuple(sorted(frozenset(update_id for message in avails for update_id in message.update_ids)))


def _supported(state: ChainState, avails: Iterable[AvailMessage]) -> tuple[bytes, ...]:
    lists = ((message.avail.validator_index, message.update_ids) for message in avails)
    return supported_ids(lists, state.validators)


def _supported_headers(
    state: ChainState, inputs: ProposalInputs, avails: Sequence[AvailMessage]
) -> tuple[UpdateHeader, ...]:
    """Return the headers that the block must hold, by id."""
    by_id = {header.update_id: header for header in inputs.headers}
    supported = _supported(state, avails)
    missing = [update_id.hex() for update_id in supported if update_id not in by_id]
    if missing:
        raise MissingUpdates(f"the headers of {len(missing)} updates have not come yet: {', '.join(missing)}")
    return tuple(by_id[update_id] for update_id in supported)


def _entry(message: AvailMessage, candidates: Sequence[bytes]) -> AvailEntry:
    avail = message.avail
    place = {update_id: index for index, update_id in enumerate(candidates)}
    bitmap = bitmap_of((place[update_id] for update_id in message.update_ids), len(candidates))
    return AvailEntry(
        avail.validator_index, avail.attempt, avail.time_ms, avail.count, bitmap, avail.signature
    )


def _chosen_evidence(
    state: ChainState, inputs: ProposalInputs, context: Context
) -> tuple[tuple[Evidence, ...], tuple[Convict, ...], LedgerState]:
    """Return the evidence that convicts somebody anew, what it proves, and the ledger after that."""
    ledger = begin_block(state.ledger, state.header_hash)
    evidence: list[Evidence] = []
    convictions: list[Convict] = []
    size = 0
    for data, item in sorted({codec.encode(item): item for item in inputs.evidence}.items()):
        if len(evidence) == EVIDENCE_PER_BLOCK_MAX or size + len(data) > EVIDENCE_BYTES_MAX:
            break
        try:
            conviction = conviction_of(state, item)
            ledger = execute_convictions(ledger, [conviction], context)
        except (PeerFault, InvalidTransaction):
            continue  # Too old by now, or convicted already.
        evidence.append(item)
        convictions.append(conviction)
        size += len(data)
    return tuple(evidence), tuple(convictions), ledger


def _chosen_transactions(
    inputs: ProposalInputs, ledger: LedgerState, context: Context, room: int
) -> tuple[Transaction, ...]:
    """Return at most `room` transactions that run after the convictions, in the order given."""
    chosen: list[Transaction] = []
    for transaction in inputs.transactions:
        if len(chosen) == room:
            break
        try:
            ledger = execute_transaction(ledger, transaction, context)
        except InvalidTransaction:
            continue  # It may run later, or never; the pool decides.
        chosen.append(transaction)
    return tuple(chosen)
