"""Light client attacks (E4): headers that nobody signs who follows one chain, and who signed them."""

from __future__ import annotations

from p2pfed.consensus.certificates import precommits_of
from p2pfed.errors import BadSignature, MalformedMessage
from p2pfed.primitives import codec
from p2pfed.types.block import Header
from p2pfed.types.evidence import LightClientAttack
from p2pfed.types.genesis import Genesis
from p2pfed.types.light import LightBlock
from p2pfed.types.params import HEADER_BYTES_MAX
from p2pfed.types.vote import Precommit

# What a header has from the blocks before it alone: no two honest headers of one parent differ in these.
DERIVED = ("validators_hash", "next_validators_hash", "params_hash")


def is_contradiction(first: Header, second: Header) -> bool:
    """Answer whether nobody honest precommits both, two headers of one height, in any rounds.

    Who votes at a height has one block before it, for ever, and computes these fields from that alone.
    """
    if first.prev_header_hash != second.prev_header_hash:
        return True
    return any(getattr(first, name) != getattr(second, name) for name in DERIVED)


def attacks(first: LightBlock, second: LightBlock, params_hash: bytes) -> tuple[LightClientAttack, ...]:
    """Return the proofs that two verified blocks of one height give, one a culprit, ascending by key.

    Who signed both is convicted by both, where they contradict each other; who signed one that has other
    parameters than genesis by that one alone.
    """
    assert first.header.height == second.header.height
    found: dict[bytes, LightClientAttack] = {}
    signed = [_signed(block) for block in (first, second)]
    headers = [codec.encode(block.header) for block in (first, second)]
    for block, header, votes in zip((first, second), headers, signed, strict=True):
        if block.header.params_hash != params_hash:
            found |= {key: LightClientAttack(key, header, vote, b"", None) for key, vote in votes.items()}
    if is_contradiction(first.header, second.header):
        for key in [key for key in signed[0] if key in signed[1] and key not in found]:
            pairs = zip(headers, (votes[key] for votes in signed), strict=True)
            (header, vote), (other_header, other) = sorted(pairs, key=lambda pair: codec.encode(pair[1]))
            found[key] = LightClientAttack(key, header, vote, other_header, other)
    return tuple(found[key] for key in sorted(found))


def verify_attack(evidence: LightClientAttack, genesis: Genesis) -> None:
    """Check what a proof claims; that its signer voted at the height is the caller's question.

    Raises:
        MalformedMessage: No such headers, or one honest key may have signed them.
        BadSignature: Its signer did not sign them.
    """
    header = _verified(evidence.header, evidence.precommit, evidence.signer, genesis)
    if evidence.other is None:
        if evidence.other_header:
            raise MalformedMessage("a header without its precommit")
        if header.params_hash == genesis.params_hash:
            raise MalformedMessage("a header with the parameters of genesis, and no other one beside it")
        return
    other = _verified(evidence.other_header, evidence.other, evidence.signer, genesis)
    if other.height != header.height:
        raise MalformedMessage(f"headers of heights {header.height} and {other.height}")
    if not is_contradiction(header, other):
        raise MalformedMessage("two headers of one parent that one key may precommit in two rounds")
    if codec.encode(evidence.precommit) >= codec.encode(evidence.other):
        raise MalformedMessage("evidence is not in canonical order")


def _verified(data: bytes, vote: Precommit, signer: bytes, genesis: Genesis) -> Header:
    """Return the header in `data`, of this network, that `vote` of `signer` is for."""
    header: Header = codec.decode(data, Header, HEADER_BYTES_MAX)
    if (header.chain_id, header.height, header.value_id) != (genesis.chain_id, vote.height, vote.value_id):
        raise MalformedMessage(f"a precommit of height {vote.height} for another header")
    if not vote.is_signed_by(signer, genesis.chain_id):
        raise BadSignature(f"precommit of {signer.hex()[:12]}…")
    return header


def _signed(block: LightBlock) -> dict[bytes, Precommit]:
    votes = precommits_of(block.commit, block.validators)
    return {block.validators.validators[vote.validator_index].key: vote for vote in votes}
