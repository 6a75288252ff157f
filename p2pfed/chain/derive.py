"""The header that a body implies: a proposer writes it, everyone else compares it, so the two can't drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from p2pfed.aggregation.engine import Merge, choose_rule, faulty_max, merge
from p2pfed.aggregation.group import ParallelMap
from p2pfed.aggregation.growing import Tables
from p2pfed.aggregation.step import OuterStep
from p2pfed.chain.evidence import trainer_accusation
from p2pfed.chain.gate import judge_of
from p2pfed.chain.reward import reward_of
from p2pfed.chain.state import ChainState
from p2pfed.chain.update_set import UpdateSet, median_time_ms
from p2pfed.errors import InvalidTransaction
from p2pfed.ledger.execute import (
    begin_block,
    end_block,
    execute_convictions,
    execute_transaction,
    receipts_root,
)
from p2pfed.ledger.module import Context, Convict, CountUpdates, Offence
from p2pfed.ledger.state import LedgerState
from p2pfed.primitives import codec
from p2pfed.primitives.digest import ZERO_DIGEST, tagged
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root, root
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import FLAG_EMPTY, Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.message import Message
from p2pfed.types.model import Int16Vector
from p2pfed.types.update import UpdateHeader


class ModelRoots(Struct, frozen=True):
    """The three roots that only a merge gives."""

    exponents: bytes
    aggregate: bytes
    model: bytes


def rule_for(state: ChainState, updates: UpdateSet) -> str:
    """Return the rule that merges `updates`, "" where the height carries no new model.

    `f` comes from the bonds of everybody who may train at this height, not only of those who did: a liar must
    not lower it by making honest peers late.
    """
    params, count = state.genesis.params, len(updates.updates)
    if count < params.updates_min or state.ledger.quality.back_to is not None:
        return ""
    return choose_rule(params.rules, count, faulty_max(state.trainer_bonds)) or ""


# Returns the inner products of the payloads of updates, in their order; None where it hasn't got them.
Products = Callable[[Sequence[UpdateHeader]], Tables | None]


def merge_updates(
    state: ChainState,
    updates: UpdateSet,
    rule: str,
    rows: Sequence[Int16Vector],
    parallel: ParallelMap,
    products: Products | None = None,
) -> Merge:
    """Return the merge of `updates`, whose payloads are `rows` in the same order."""
    assert state.model is not None
    params = state.genesis.params
    return merge(
        state.genesis.manifest,
        state.model,
        rows,
        [header.examples for header in updates.updates],
        ages=ages_of(state, updates.updates),
        outer=OuterStep(params.outer_momentum, params.outer_rate),
        faulty_max=faulty_max(state.trainer_bonds),
        rule=rule,
        later_rules=params.rules[params.rules.index(rule) + 1 :],
        seed=state.seed,
        update_bits=params.update_bits,
        examples_cap=params.examples_cap,
        products=products(updates.updates) if products is not None else None,
        parallel=parallel,
    )


def ages_of(state: ChainState, updates: Sequence[UpdateHeader]) -> tuple[int, ...]:
    """Return how many new models there were since the one that each update of the next block is from."""
    bases = [state.base_of(header.base_height) for header in updates]
    return tuple(state.train_index - base.train_index for base in bases if base is not None)


def merged_roots(result: Merge) -> ModelRoots:
    """Return the roots of a merge."""
    aggregate = chunk_root(result.aggregate.astype("<i4", copy=False).data)
    return ModelRoots(result.model.exponents_root, aggregate, result.model.root)


def unchanged_roots(state: ChainState) -> ModelRoots:
    """Return the roots of an EMPTY height: no aggregate; the model stays, or an older one comes back."""
    back_to = state.ledger.quality.back_to
    if back_to is not None:
        return ModelRoots(back_to.exponents_root, EMPTY_ROOT, back_to.model_root)
    return ModelRoots(state.exponents_root, EMPTY_ROOT, state.model_root)


def commit_hash(cert: CommitCert | None) -> bytes:
    """Return H("commit", CommitCert), zeros where there is none."""
    return tagged("commit", codec.encode(cert)) if cert else ZERO_DIGEST


def derive(
    state: ChainState,
    body: Body,
    updates: UpdateSet,
    convictions: Sequence[Convict],
    *,
    proposer: bytes,
    round0: int,
    roots: ModelRoots,
) -> tuple[Header, LedgerState]:
    """Return the one header that `body` may have, and the ledger after it.

    Raises:
        InvalidTransaction: The body holds a transaction or conviction that the ledger refuses.
    """
    height = state.next_height
    rule = rule_for(state, updates)
    time_ms = max(state.time_ms + 1, median_time_ms(body.avails, state.validators))
    ledger = _executed(state, body, updates, convictions, state.context(proposer, time_ms), is_empty=not rule)
    scores, back_to = body.scores, state.ledger.quality.back_to
    header = Header(
        version=1,
        chain_id=state.chain_id,
        height=height,
        round0=round0,
        time_ms=time_ms,
        prev_header_hash=state.header_hash,
        prev_commit_hash=commit_hash(body.last_commit),
        train_index=state.train_index + (1 if rule else 0),
        flags=0 if rule else FLAG_EMPTY,
        proposer=proposer,
        seed_reveal=b"",
        validators_hash=state.validators.hash,
        next_validators_hash=state.next_validators.hash,
        params_hash=state.genesis.params_hash,
        avail_root=_list_root(body.avails),
        updates_root=_list_root(body.updates),
        rule=rule,
        exponents_root=roots.exponents,
        aggregate_root=roots.aggregate,
        model_root=roots.model,
        model_parent=state.height if back_to is None else back_to.height,
        scores_root=_list_root(scores.scores) if scores else EMPTY_ROOT,
        transactions_root=_list_root(body.transactions),
        receipts_root=receipts_root(len(body.transactions)),
        state_root=ledger.root,
        evidence_root=_list_root(body.evidence),
        extensions_root=EMPTY_ROOT,
        body_hash=body.hash(),
    )
    return header, ledger


def _executed(
    state: ChainState,
    body: Body,
    updates: UpdateSet,
    convictions: Sequence[Convict],
    context: Context,
    *,
    is_empty: bool,
) -> LedgerState:
    ledger = begin_block(state.ledger, state.header_hash)
    ledger = execute_convictions(ledger, convictions, context)
    for transaction in body.signed_transactions:
        ledger = execute_transaction(ledger, transaction, context)
    for trainer, _ in updates.dropped:  # B5: both headers are in the body, so the block is the proof (E6).
        try:
            ledger = execute_convictions(ledger, [dropped_trainer(state, trainer)], context)
        except InvalidTransaction:
            continue  # Convicted of it before, maybe by evidence of this very block.
    counted = tuple((header.trainer, header.base_height) for header in updates.updates)
    count = CountUpdates(state.base_model, counted, updates.dropped, is_empty)
    reward, judge = reward_of(state, body, updates), judge_of(state, body)
    return end_block(ledger, count, signs_of_life(state, body), context, reward, judge)


def dropped_trainer(state: ChainState, trainer: bytes) -> Convict:
    """Return the conviction of a trainer of the next block that it drops for two updates (B5, E6)."""
    return trainer_accusation(state, trainer, Offence.DUPLICATE_UPDATE, state.next_height)


def signs_of_life(state: ChainState, body: Body) -> frozenset[bytes]:
    """Return the keys that the next block shows alive: by a vote on the last one, AVAIL or an update.

    Each alone would miss honest ones that are far away: a quorum is enough for a certificate and for a
    proposal, and the slowest are always left out of it.
    """
    voters = state.validators.validators
    alive = {voters[entry.validator_index].key for entry in body.avails}
    alive |= {update.trainer for update in body.updates}
    if body.last_commit is not None:
        last = state.last_validators
        alive |= {last.validators[i].key for i in indices_of(body.last_commit.bitmap, len(last))}
    return frozenset(alive)


def _list_root(messages: Sequence[Message]) -> bytes:
    return root([codec.encode(message) for message in messages])
