"""What makes an update header a candidate for the next block (spec/consensus.md sections 10 and 19)."""

from __future__ import annotations

from p2pfed.chain.form import payload_form
from p2pfed.chain.state import ChainState
from p2pfed.errors import BadSignature, OutOfBounds, WrongHeight
from p2pfed.types.message import SignatureCheck, SignedMessage
from p2pfed.types.update import UpdateHeader


def verify_update(
    state: ChainState, header: UpdateHeader, is_signed_by: SignatureCheck = SignedMessage.is_signed_by
) -> None:
    """Check a header for the block after `state`; cheap things first, the signature last.

    Whether the payload is valid is `aggregation.payload.PayloadForm`'s question.

    Raises:
        WrongHeight: A base height outside the window, or an update of this or a newer base counted already.
        OutOfBounds: Not a trainer, another model root, length or codec.
        BadSignature: Not signed by the trainer.
    """
    base = state.base_of(header.base_height)
    if base is None:
        limit = f"{state.height} is the last one"
        if header.base_height < state.oldest_base:
            limit = f"{state.oldest_base} is the oldest that counts"
        raise WrongHeight(f"an update from height {header.base_height} where {limit}")
    if header.trainer not in state.trainers:
        raise OutOfBounds(f"{header.trainer.hex()[:12]}… is no trainer of this network")
    if header.base_height <= state.ledger.training.last_base(header.trainer):
        raise WrongHeight(f"an update from height {header.base_height} counted already")
    if header.base_model_root != base.root:
        raise OutOfBounds(
            f"an update from model {header.base_model_root.hex()[:12]}… "
            f"where {base.root.hex()[:12]}… was agreed"
        )
    form = payload_form(state.genesis)
    if header.codec != form.number:
        raise OutOfBounds(f"codec {header.codec} where {form.number} ({form.codec}) is the only one")
    if header.payload_bytes != form.length:
        raise OutOfBounds(f"a payload of {header.payload_bytes} bytes; this model needs {form.length}")
    if not is_signed_by(header, header.trainer, state.chain_id):
        raise BadSignature(f"update of {header.trainer.hex()[:12]}…")
