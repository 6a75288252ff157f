"""Apply a block that is final already: catching up needs its certificate, not its payloads."""

from __future__ import annotations

from p2pfed.chain.check import check_body
from p2pfed.chain.gate import kept_model
from p2pfed.chain.state import ChainState, after, with_model
from p2pfed.consensus.certificates import verify_commit
from p2pfed.errors import InvalidCertificate
from p2pfed.types.block import Block

__all__ = ["apply_certified", "with_model"]


def apply_certified(state: ChainState, block: Block) -> ChainState:
    """Return the state after a final block.

    Everything but the aggregate is checked as before a vote. The roots of a merged model are taken from the
    quorum that signed them, so the state has no model unless the block is EMPTY; `with_model` adds it.

    Raises:
        InvalidCertificate, MalformedMessage: Not this block's certificate or body: blame who sent the copy.
        InvalidBlock: A quorum signed what our own check refuses: halt.
    """
    header, cert = block.header, block.commit
    if cert.height != state.next_height or cert.value_id != header.value_id:
        raise InvalidCertificate(
            f"the certificate is for {cert.value_id.hex()} at {cert.height}, "
            f"the block is {header.value_id.hex()} at {state.next_height}"
        )
    verify_commit(cert, state.validators, state.chain_id)
    checked = check_body(state, header, block.body)
    return after(state.genesis, header, checked.ledger, None if checked.rule else kept_model(state))
