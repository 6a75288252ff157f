"""Every block once more, slowly: what it must merge and become, in plain Python, from its body and payloads.

It shares no code with `chain.check` and `chain.derive`; the merge is that of `aggregation.reference`. The
ledger's own arithmetic is not repeated: its root is compared between peers, its stake counted by `Checkers`.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pfed.aggregation import reference
from p2pfed.aggregation.step import OuterStep
from p2pfed.chain.form import payload_form
from p2pfed.chain.state import ChainState
from p2pfed.primitives.merkle import EMPTY_ROOT, chunk_root
from p2pfed.types.block import Block
from p2pfed.types.update import UpdateHeader

ROUND_WITHOUT_UPDATES = 4

Payload = Callable[[bytes], bytes | None]  # By its root.


def objection(before: ChainState, block: Block, payload: Payload) -> str:
    """Return what is wrong with a final block, "" where nothing is.

    Args:
        before: The state before it, with its model.
        block: What an honest peer stored.
        payload: The bytes of the payloads that it merged.
    """
    header, body = block.header, block.body
    powers = [validator.power for validator in before.validators.validators]
    support: dict[bytes, int] = {}
    for entry in body.avails:
        for place, update_id in enumerate(body.candidates):
            if entry.bitmap[place // 8] >> place % 8 & 1:
                support[update_id] = support.get(update_id, 0) + powers[entry.validator_index]
    counted = [update_id for update_id, power in support.items() if 3 * power > sum(powers)]
    if sorted(counted) != [update.update_id for update in body.updates]:
        return f"it carries {len(body.updates)} updates, {len(counted)} have the support of a third"
    owners = [(update.trainer, update.base_height) for update in body.updates]
    liars = {owner[0] for owner in owners if owners.count(owner) > 1}
    newest = {
        update.trainer: update for update in sorted(body.updates, key=lambda update: update.base_height)
    }
    merged = [newest[trainer] for trainer in sorted(newest) if trainer not in liars]
    if header.round0 >= ROUND_WITHOUT_UPDATES:
        merged = []
    return _merge_objection(before, block, merged, payload)


def _merge_objection(before: ChainState, block: Block, merged: list[UpdateHeader], payload: Payload) -> str:
    header, params = block.header, before.genesis.params
    lying = _lying(list(before.trainer_bonds))
    needed = lying if params.rules[0] == "mean" else 2 * lying  # The mean trusts everybody.
    is_merging = len(merged) >= params.updates_min and needed < len(merged)
    if not is_merging:
        is_unchanged = (header.flags, header.rule, header.aggregate_root) == (1, "", EMPTY_ROOT)
        if not is_unchanged or header.model_root != before.model_root:
            return f"it merges {len(merged)} updates with {lying} liars, and should merge nothing"
        return ""
    if (header.flags, header.train_index) != (0, before.train_index + 1):
        return f"it has flags {header.flags} and train_index {header.train_index}, and should merge"
    rows, ages = [], []
    for update in merged:
        base = before.base_of(update.base_height)
        if base is None:
            return f"an update from height {update.base_height} stands in block {header.height}"
        ages.append(before.train_index - base.train_index)
        data = payload(update.payload_root)
        if data is None:
            return f"the payload {update.payload_root.hex()} of {update.trainer.hex()[:12]} is nowhere"
        rows.append(payload_form(before.genesis).decode(data, before.seed))
    assert before.model is not None
    result = reference.merge(
        before.genesis.manifest,
        before.model,
        rows,
        [update.examples for update in merged],
        faulty_max=lying,
        rule=params.rules[0],
        ages=ages,
        outer=OuterStep(params.outer_momentum, params.outer_rate),
        update_bits=params.update_bits,
        examples_cap=params.examples_cap,
    )
    ours = (chunk_root(result.aggregate.astype("<i4").tobytes()), result.model.root, params.rules[0])
    if ours != (header.aggregate_root, header.model_root, header.rule):
        return f"its model is {header.model_root.hex()}, computed again {ours[1].hex()}"
    return ""


def _lying(bonds: list[int]) -> int:
    """Return the most trainers whose bonds together are less than a third."""
    for count in range(len(bonds), 0, -1):
        if 3 * sum(sorted(bonds)[:count]) < sum(bonds):
            return count
    return 0
