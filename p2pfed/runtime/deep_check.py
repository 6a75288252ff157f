"""`verify --deep`: recompute every aggregate whose payloads are held, with the slow reference, and scores."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from p2pfed.aggregation import reference
from p2pfed.aggregation.engine import faulty_max
from p2pfed.aggregation.step import OuterStep
from p2pfed.chain.derive import ages_of, merged_roots
from p2pfed.chain.form import payload_form
from p2pfed.chain.scoring import has_scores, scores_of, verify_equal_scores
from p2pfed.chain.state import ChainState, genesis_state, restore
from p2pfed.chain.update_set import update_set
from p2pfed.errors import InvalidBlock
from p2pfed.storage.store import Store
from p2pfed.types.block import Block
from p2pfed.types.model import Int16Vector
from p2pfed.types.update import UpdateHeader


class DeepResult(Struct, frozen=True):
    """One height: recomputed and equal (`problem` empty), wrong, or not held any more (`is_held` False)."""

    height: int
    is_held: bool
    problem: str


def deep_check(store: Store) -> Iterator[DeepResult]:
    """Yield one result a height, ascending; an EMPTY height has nothing to recompute and is left out."""
    for height in range(_first(store), store.chain.height + 1):
        block = store.chain.block(height)
        if block is None or block.header.is_empty:
            continue
        before = state_before(store, height)
        updates = update_set(block.body.updates, block.header.round0).updates
        rows = None if before is None else rows_of(store, before.seed, updates)
        if before is None or rows is None:
            yield DeepResult(height, is_held=False, problem="")
        else:
            yield DeepResult(height, is_held=True, problem=_compare(before, block, rows))


def _first(store: Store) -> int:
    return store.chain.base + 1 if store.chain.base else store.genesis.params.height_first


def state_before(store: Store, height: int) -> ChainState | None:
    """Return the state before the block of `height`, with its model; None where that is not kept."""
    is_first = height == store.genesis.params.height_first
    model = store.load_model(0 if is_first else height - 1)
    if model is None:
        return None
    if is_first:
        return genesis_state(store.genesis, model)
    header, ledger = store.chain.header(height - 1), store.chain.ledger(height - 1)
    if header is None or ledger is None:
        return None
    return restore(store.genesis, header, ledger, model)


def rows_of(store: Store, seed: bytes, updates: tuple[UpdateHeader, ...]) -> list[Int16Vector] | None:
    """Return the payloads of `updates`, which trained from a state of this seed; None: one is not kept."""
    rows, form = [], payload_form(store.genesis)
    for update in updates:
        data = store.blobs.load(update.payload_root)
        if data is None:
            return None
        rows.append(form.decode(data, seed))
    return rows


def _compare(before: ChainState, block: Block, rows: list[Int16Vector]) -> str:
    assert before.model is not None
    header, params = block.header, before.genesis.params
    merged = update_set(block.body.updates, header.round0)
    updates = merged.updates
    result = reference.merge(
        before.genesis.manifest,
        before.model,
        rows,
        [update.examples for update in updates],
        faulty_max=faulty_max(before.trainer_bonds),
        rule=header.rule,
        ages=ages_of(before, updates),
        outer=OuterStep(params.outer_momentum, params.outer_rate),
        later_rules=params.rules[params.rules.index(header.rule) + 1 :],
        seed=before.seed,
        update_bits=params.update_bits,
        examples_cap=params.examples_cap,
    )
    roots = merged_roots(result)
    for name, ours, stored in (
        ("aggregate_root", roots.aggregate, header.aggregate_root),
        ("exponents_root", roots.exponents, header.exponents_root),
        ("model_root", roots.model, header.model_root),
    ):
        if ours != stored:
            return f"{name} of height {header.height} is {stored.hex()}, recomputed {ours.hex()}"
    if has_scores(before, header.rule):
        try:
            verify_equal_scores(block.body.scores, scores_of(before, merged, rows, result))
        except InvalidBlock as problem:
            return f"scores of height {header.height}: {problem}"
    return ""
