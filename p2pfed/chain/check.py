"""Decide whether a complete block is valid: a function of the block and the state before it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from p2pfed.aggregation.group import ParallelMap
from p2pfed.chain.candidate import verify_update
from p2pfed.chain.derive import (
    ModelRoots,
    Products,
    derive,
    merge_updates,
    merged_roots,
    rule_for,
    unchanged_roots,
)
from p2pfed.chain.evidence import conviction_of
from p2pfed.chain.gate import kept_model, verify_words
from p2pfed.chain.scoring import has_scores, scores_of, verify_equal_scores, verify_scores
from p2pfed.chain.state import ChainState, after
from p2pfed.chain.update_set import UpdateSet, supported_ids, update_set
from p2pfed.consensus.certificates import verify_commit
from p2pfed.consensus.proposer import proposer_index
from p2pfed.consensus.quorum import has_quorum
from p2pfed.errors import InvalidBlock, InvalidTransaction, MalformedMessage, PeerFault
from p2pfed.ledger.module import Convict
from p2pfed.ledger.state import LedgerState
from p2pfed.primitives import codec
from p2pfed.types.availability import AvailEntry, AvailMessage, listed_ids, signed_avail
from p2pfed.types.block import Body, Header
from p2pfed.types.certificate import CommitCert
from p2pfed.types.evidence import Evidence
from p2pfed.types.model import Int16Vector
from p2pfed.types.params import BODY_BYTES_MAX, EVIDENCE_BYTES_MAX
from p2pfed.types.update import UpdateHeader

# Returns the checked payload of an update, int16, shape (d,); `aggregation.payload` checks it.
Payloads = Callable[[UpdateHeader], Int16Vector]


class CheckedBody(Struct, frozen=True):
    """What is known of a block before a payload is looked at: all but the three roots of the merge."""

    updates: UpdateSet
    rule: str
    ledger: LedgerState  # After this block.

    @property
    def needed(self) -> tuple[UpdateHeader, ...]:
        """The updates to merge in row order: the payloads needed next."""
        return self.updates.updates if self.rule else ()


class Known(Struct, frozen=True):
    """What was verified against the same state before: a part of a body that equals it is not verified again.

    Peers hear every update, availability vote and precommit before the block that carries them.
    """

    updates: Mapping[bytes, UpdateHeader] = {}  # By update id.
    avails: Mapping[int, AvailMessage] = {}  # By validator.
    last_commit: CommitCert | None = None


NOTHING_KNOWN = Known()


def verify_body(state: ChainState, header: Header, body: Body) -> tuple[UpdateHeader, ...]:
    """Check all that needs no payload; return the updates to merge in row order: the payloads needed next.

    An EMPTY block merges nothing and needs none.

    Raises:
        MalformedMessage: `body` is not the one that `header` names: blame who sent it, the value stands.
        InvalidBlock: The block is wrong, whoever sent it.
    """
    return check_body(state, header, body).needed


def check(
    state: ChainState,
    header: Header,
    body: Body,
    payloads: Payloads,
    parallel: ParallelMap = map,
    products: Products | None = None,
    checked: CheckedBody | None = None,
) -> ChainState:
    """Check a block whole, recompute its aggregate bit for bit, and return the state after it.

    Args:
        state: The state before the block, with its model.
        header: What is voted on.
        body: The body under `header.body_hash`.
        payloads: Called once for each update of `verify_body`, in its order; what it raises passes through.
        parallel: How to map over groups of the model; it can't change a bit.
        products: Inner products of payloads, from whoever measured them as they came; neither can it.
        checked: What `check_body` has returned for these three, so that it is not done twice.

    Raises:
        MalformedMessage, InvalidBlock: As `verify_body`; the text has the two values that disagree.
    """
    checked = checked or check_body(state, header, body)
    if not checked.rule:
        return after(state.genesis, header, checked.ledger, kept_model(state))
    rows = [payloads(update) for update in checked.updates.updates]
    result = merge_updates(state, checked.updates, checked.rule, rows, parallel, products)
    ours, theirs = merged_roots(result), _claimed_roots(header)
    for name, own, claimed in (
        ("aggregate_root", ours.aggregate, theirs.aggregate),
        ("exponents_root", ours.exponents, theirs.exponents),
        ("model_root", ours.model, theirs.model),
    ):
        if own != claimed:
            raise InvalidBlock(f"{name} is {claimed.hex()}, recomputed {own.hex()}")
    if has_scores(state, checked.rule):
        scores = scores_of(state, checked.updates, rows, result, parallel, products)
        verify_equal_scores(body.scores, scores)
    return after(state.genesis, header, checked.ledger, result.model)


def check_body(state: ChainState, header: Header, body: Body, known: Known = NOTHING_KNOWN) -> CheckedBody:
    """Check all that needs no payload and execute the ledger; raises as `verify_body`."""
    data = codec.encode(body)
    if header.body_hash != body.hash():
        raise MalformedMessage(
            f"the body has hash {body.hash().hex()}, the header says {header.body_hash.hex()}"
        )
    if len(data) > BODY_BYTES_MAX:
        raise InvalidBlock(f"a body of {len(data)} bytes; at most {BODY_BYTES_MAX}")
    _verify_place(state, header)
    verify_last_commit(state, body, known.last_commit)
    updates = update_set(_verified_updates(state, body, known), header.round0)
    convictions = convictions_of(state, body.evidence)
    rule = rule_for(state, updates)
    verify_scores(state, body, updates, rule)
    verify_words(state, body)
    roots = _claimed_roots(header) if rule else unchanged_roots(state)
    try:
        expected, ledger = derive(
            state,
            body,
            updates,
            convictions,
            proposer=header.proposer,
            round0=header.round0,
            roots=roots,
        )
    except InvalidTransaction as error:
        raise InvalidBlock(f"the ledger refuses the block: {error}") from None
    _verify_equal(header, expected)
    return CheckedBody(updates, rule, ledger)


def verify_last_commit(state: ChainState, body: Body, known: CommitCert | None = None) -> None:
    """Raise InvalidBlock unless the body holds a certificate of the block of `state`; genesis has none.

    One that equals `known` was verified before.
    """
    cert = body.last_commit
    if state.header is None or cert is None:
        if cert is not None or state.header is not None:
            raise InvalidBlock(
                f"height {state.next_height} {'lacks' if cert is None else 'has'} a last commit"
            )
        return
    if cert.height != state.height or cert.value_id != state.header_hash:
        raise InvalidBlock(
            f"the last commit is for {cert.value_id.hex()} at {cert.height}, "
            f"the last block is {state.header_hash.hex()} at {state.height}"
        )
    if cert == known:
        return
    try:
        verify_commit(cert, state.last_validators, state.chain_id)
    except PeerFault as fault:
        raise InvalidBlock(f"the last commit: {fault}") from None


def convictions_of(state: ChainState, evidence: Sequence[Evidence]) -> tuple[Convict, ...]:
    """Return what `evidence` of the next block proves.

    Raises:
        InvalidBlock: Out of order, too long, too old, from the future, or no proof.
    """
    encoded = [codec.encode(item) for item in evidence]
    if sum(len(data) for data in encoded) > EVIDENCE_BYTES_MAX:
        raise InvalidBlock(f"more than {EVIDENCE_BYTES_MAX} bytes of evidence")
    if not _is_ascending(encoded):
        raise InvalidBlock("evidence is not in ascending order of its bytes")
    try:
        return tuple(conviction_of(state, item) for item in evidence)
    except PeerFault as fault:
        raise InvalidBlock(f"evidence proves nothing: {fault}") from None


def _verify_place(state: ChainState, header: Header) -> None:
    """Check what `derive` takes from the header itself, and whether the network goes on at all."""
    final = state.genesis.params.height_final
    if final and state.next_height > final:
        raise InvalidBlock(f"the network ended at height {final}")
    validators = state.validators
    proposer = validators.validators[
        proposer_index(validators, state.chain_id, state.next_height, header.round0)
    ]
    if header.proposer != proposer.key:
        raise InvalidBlock(
            f"proposer is {header.proposer.hex()}, round {header.round0} belongs to {proposer.key.hex()}"
        )


def _verified_updates(state: ChainState, body: Body, known: Known) -> tuple[UpdateHeader, ...]:
    """Return the body's update headers, which are exactly those with an honest voice behind them."""
    expected = supported_ids(_verified_lists(state, body, known), state.validators)
    ids = tuple(update.update_id for update in body.updates)
    if ids != expected:
        missing = [update_id.hex() for update_id in expected if update_id not in ids]
        foreign = [update_id.hex() for update_id in ids if update_id not in expected]
        raise InvalidBlock(f"the updates lack {missing}, have {foreign} without support, or are out of order")
    for update in body.updates:
        if known.updates.get(update.update_id) == update:
            continue
        try:
            verify_update(state, update)
        except PeerFault as fault:
            raise InvalidBlock(f"update {update.update_id.hex()} is no candidate: {fault}") from None
    return body.updates


def _verified_lists(state: ChainState, body: Body, known: Known) -> list[tuple[int, tuple[bytes, ...]]]:
    """Return (validator index, ids) of each availability vote of the body."""
    validators = state.validators
    indices = [entry.validator_index for entry in body.avails]
    if not _is_ascending(indices) or (indices and indices[-1] >= len(validators)):
        raise InvalidBlock(
            f"availability votes of validators {indices}: not ascending below {len(validators)}"
        )
    power = validators.power_of(indices)
    if not has_quorum(power, validators.total_power):
        raise InvalidBlock(
            f"availability votes of power {power} of {validators.total_power}, not more than two thirds"
        )
    if not _is_ascending(body.candidates):
        raise InvalidBlock("the candidates are not in ascending order")
    lists = [
        (entry.validator_index, _verified_list(state, body.candidates, entry, known)) for entry in body.avails
    ]
    listed = frozenset(update_id for _, ids in lists for update_id in ids)
    if listed != frozenset(body.candidates):
        raise InvalidBlock(f"{len(body.candidates)} candidates, {len(listed)} of them in a list")
    return lists


def _verified_list(
    state: ChainState, candidates: Sequence[bytes], entry: AvailEntry, known: Known
) -> tuple[bytes, ...]:
    """Return the ids that one availability vote lists."""
    who = f"the availability vote of validator {entry.validator_index}"
    if entry.attempt != 0:
        raise InvalidBlock(f"{who} is attempt {entry.attempt}; 0 is the only one")
    if entry.time_ms <= state.time_ms:
        raise InvalidBlock(f"{who} has time {entry.time_ms}, not after {state.time_ms}")
    try:
        ids = listed_ids(candidates, entry)
    except MalformedMessage as error:
        raise InvalidBlock(f"{who}: {error}") from None
    if entry.count != len(ids):
        raise InvalidBlock(f"{who} counts {entry.count} ids and lists {len(ids)}")
    avail = signed_avail(state.next_height, candidates, entry)
    heard = known.avails.get(entry.validator_index)
    if heard is not None and heard.avail == avail:
        return ids
    if not avail.is_signed_by(state.validators.validators[entry.validator_index].key, state.chain_id):
        raise InvalidBlock(f"{who} is not signed by it over these {len(ids)} ids")
    return ids


def _claimed_roots(header: Header) -> ModelRoots:
    return ModelRoots(header.exponents_root, header.aggregate_root, header.model_root)


def _verify_equal(header: Header, expected: Header) -> None:
    """Compare field by field, so that a field added later is compared too."""
    for name in Header.__struct_fields__:
        claimed, derived = getattr(header, name), getattr(expected, name)
        if claimed != derived:
            raise InvalidBlock(f"{name} is {_shown(claimed)}, recomputed {_shown(derived)}")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _is_ascending(values: Sequence[bytes] | Sequence[int]) -> bool:
    """Answer whether each value is greater than the one before: ordered and without duplicates."""
    return all(first < second for first, second in pairwise(values))  # type: ignore[operator]
