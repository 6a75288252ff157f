"""Make and check the manifest of a snapshot, and the state that its parts are (spec/storage.md, part 6)."""

from __future__ import annotations

from msgspec.structs import replace

from p2pfed.chain.state import ChainState, after
from p2pfed.errors import InvalidSnapshot, MalformedMessage
from p2pfed.ledger.state import LEDGER_BYTES_MAX, decode_ledger
from p2pfed.primitives import codec
from p2pfed.primitives.merkle import chunk_root
from p2pfed.types.block import Block, Body
from p2pfed.types.genesis import Genesis, exponent_bytes, model_bytes
from p2pfed.types.light import LightBlock
from p2pfed.types.model import Int32Vector, ModelState
from p2pfed.types.params import BODY_BYTES_MAX
from p2pfed.types.snapshot import (
    BODY,
    EXPONENTS,
    LEDGER,
    MODEL,
    PARTS,
    SNAPSHOT_FORMAT,
    Part,
    Snapshot,
)


def snapshot_of(block: LightBlock, ledger: bytes, body_bytes: int, genesis: Genesis) -> Snapshot:
    """Return the manifest of the state after `block`: its ledger has the bytes `ledger`."""
    header = block.header
    return Snapshot(
        SNAPSHOT_FORMAT,
        block,
        (
            Part(LEDGER, len(ledger), chunk_root(ledger)),
            Part(BODY, body_bytes, header.body_hash),
            Part(EXPONENTS, exponent_bytes(genesis), header.exponents_root),
            Part(MODEL, model_bytes(genesis), header.model_root),
        ),
    )


def verify_parts(snapshot: Snapshot, genesis: Genesis) -> None:
    """Check what a manifest says of its parts by its own header, which is believed or not elsewhere.

    Raises:
        InvalidSnapshot: No honest peer offers it; names the two values.
    """
    header = snapshot.block.header
    kinds = tuple(part.kind for part in snapshot.parts)
    if kinds != PARTS:
        raise InvalidSnapshot(f"a snapshot of the parts {kinds} where format 1 has {PARTS}")
    for kind, root in (
        (BODY, header.body_hash),
        (EXPONENTS, header.exponents_root),
        (MODEL, header.model_root),
    ):
        if snapshot.part(kind).root != root:
            raise InvalidSnapshot(
                f"the {kind} of snapshot {snapshot.height} is {snapshot.part(kind).root.hex()}, "
                f"its header says {root.hex()}"
            )
    exact = {EXPONENTS: exponent_bytes(genesis), MODEL: model_bytes(genesis)}
    most = {LEDGER: LEDGER_BYTES_MAX, BODY: BODY_BYTES_MAX}
    for part in snapshot.parts:
        if part.length != exact.get(part.kind, part.length) or part.length > most.get(part.kind, part.length):
            limit = exact.get(part.kind) or most[part.kind]
            raise InvalidSnapshot(
                f"the {part.kind} of snapshot {snapshot.height} has {part.length} bytes, allowed are {limit}"
            )


def block_of(snapshot: Snapshot, body: bytes) -> Block:
    """Return the whole block of a snapshot whose `body` hashes to what its header says.

    Raises:
        MalformedMessage: More than two thirds signed a hash of bytes that are no body.
    """
    light = snapshot.block
    return Block(light.header, codec.decode(body, Body, BODY_BYTES_MAX), light.commit)


def state_after(snapshot: Snapshot, genesis: Genesis, ledger: bytes) -> ChainState:
    """Return the state of a snapshot whose header is believed, without its model; `with_model` adds that.

    Raises:
        InvalidSnapshot: The ledger is not the one under the header's state root: whoever offered it lied.
    """
    header = snapshot.block.header
    try:
        state = after(genesis, header, decode_ledger(ledger), None)
    except MalformedMessage as error:
        raise InvalidSnapshot(f"the ledger of snapshot {snapshot.height} is none: {error}") from None
    if state.ledger.root != header.state_root:
        raise InvalidSnapshot(
            f"the ledger of snapshot {snapshot.height} has the root {state.ledger.root.hex()}, "
            f"its header says {header.state_root.hex()}"
        )
    return state


def model_of(state: ChainState, weights: Int32Vector, exponents: bytes) -> ChainState:
    """Return `state` with its model, which was checked chunk by chunk against the roots of its header."""
    return replace(state, model=ModelState.from_arrays(weights, exponents, state.genesis.manifest))
