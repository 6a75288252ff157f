"""What the pages show of final blocks: rows of a long history, one block with its votes, a map of updates.

Everything here reads the disk: it belongs into a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from p2pfed.storage.block_store import BlockStore
from p2pfed.types.address import peer_id
from p2pfed.types.bitmap import indices_of
from p2pfed.types.block import Block
from p2pfed.types.certificate import PolkaCert
from p2pfed.types.genesis import Genesis
from p2pfed.types.model import Int16Vector
from p2pfed.types.update import UpdateHeader
from p2pfed.types.validators import ValidatorSet

HISTORY_BLOCKS_MAX = 1_000
COLUMNS = ("height", "time_ms", "round", "updates", "signatures", "evidence", "is_empty")
MAP_UPDATES_MAX = 64  # A map of more has no readable cells.
MAP_SAMPLE_MAX = 1 << 16  # So many coordinates of each update, evenly spaced: a cosine needs no more.


def history_rows(chain: BlockStore, heights: range) -> list[list[int]]:
    """Return a row of COLUMNS for each of `heights` that is on this disk."""
    rows = []
    for height in heights:
        block = chain.block(height)
        if block is not None:
            header, body, commit = block.header, block.body, block.commit
            rows.append(
                [
                    height, header.time_ms, commit.round, len(body.updates), len(commit.signatures),
                    len(body.evidence), int(header.is_empty),
                ]
            )  # fmt: skip
    return rows


def block_view(
    block: Block, polkas: Sequence[PolkaCert], validators: ValidatorSet | None, trainers: Sequence[bytes]
) -> dict[str, Any]:
    """Return one block for a page: who voted how, and which updates it merged.

    Args:
        block: A final block.
        polkas: The certificates of prevotes kept for its height.
        validators: The set that voted on it, None where it is not known any more: then votes have no names.
        trainers: Who could have sent an update.
    """
    header, body, commit = block.header, block.body, block.commit
    count = 8 * len(commit.bitmap) if validators is None else len(validators)
    prevoted = {
        index
        for polka in polkas
        if (polka.round, polka.value_id) == (commit.round, header.value_id)
        for index in indices_of(polka.bitmap, count)
    }
    precommitted = indices_of(commit.bitmap, count)
    listed = {entry.validator_index: entry.count for entry in body.avails}
    merged = {update.trainer: update for update in body.updates}
    return {
        "schema": "p2pfed.block-page/1",
        "height": header.height,
        "hash": header.value_id.hex(),
        "time_ms": header.time_ms,
        "round": commit.round,
        "rule": header.rule,
        "is_empty": header.is_empty,
        "model_root": header.model_root.hex(),
        "proposer": peer_id(header.proposer),
        "has_prevotes": bool(prevoted),
        "votes": [
            {
                "id": "" if validators is None else peer_id(validators.validators[index].key),
                "index": index,
                "power": 0 if validators is None else validators.validators[index].power,
                "held": listed.get(index),
                "prevote": index in prevoted,
                "precommit": index in precommitted,
            }
            for index in range(count)
            if validators is not None or index in precommitted
        ],
        "updates": [_merged(update) for update in body.updates],
        "without": [peer_id(key) for key in trainers if key not in merged],
        "evidence": [type(item).__name__ for item in body.evidence],
    }


def _merged(update: UpdateHeader) -> dict[str, Any]:
    return {
        "trainer": peer_id(update.trainer),
        "examples": update.examples,
        "base_height": update.base_height,
        "bytes": update.payload_bytes,
    }


class UpdateMap(Struct, frozen=True):
    """Sizes and directions of the updates of a block.

    trainers: Peer ids, in the order of the rows.
    norms: Euclidean, in units of the model's weights.
    cosines: Of each with each, shape `(n, n)`, rounded to hundredths.
    """

    height: int
    trainers: tuple[str, ...]
    norms: tuple[float, ...]
    cosines: tuple[tuple[float, ...], ...]
    is_sampled: bool


def update_map(
    block: Block,
    genesis: Genesis,
    exponents: Sequence[int],
    load: Callable[[UpdateHeader], Int16Vector],
) -> UpdateMap:
    """Return the map of the first MAP_UPDATES_MAX updates of `block`.

    Args:
        block: A final block whose payloads are kept.
        genesis: Of the network.
        exponents: The unit of each group of an update, 2^-exponent.
        load: Returns a checked payload.

    Raises:
        StorageFault: A payload is gone.
    """
    updates = block.body.updates[:MAP_UPDATES_MAX]
    size = genesis.manifest.size
    step = -(-size // MAP_SAMPLE_MAX)
    units = np.empty(size, np.float32)
    for group, exponent in zip(genesis.manifest.groups, exponents, strict=True):
        units[group.slice] = 2.0**-exponent
    units = units[::step]
    rows = np.array([load(update)[::step] * units for update in updates], np.float64).reshape(
        len(updates), units.size
    )
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    scale = np.where(norms > 0, norms, 1.0)
    cosines = np.clip((rows @ rows.T) / np.outer(scale, scale), -1, 1)
    return UpdateMap(
        height=block.header.height,
        trainers=tuple(peer_id(update.trainer) for update in updates),
        norms=tuple(float(f"{norm * step**0.5:.4g}") for norm in norms),
        cosines=tuple(tuple(round(float(value), 2) for value in row) for row in cosines),
        is_sampled=step > 1,
    )
