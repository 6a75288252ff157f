"""E5: prove that a signed update breaks the static rules, with its header or one leaf of its payload.

The rules are those of `aggregation.payload`: length and codec of the network, no byte that none has.
"""

from __future__ import annotations

from p2pfed.aggregation.payload import PayloadForm
from p2pfed.errors import MalformedMessage, OutOfBounds
from p2pfed.primitives.merkle import LEAF_BYTES, blob_leaf_hashes, has_leaf, leaf_count, path_of_hashes
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.update import UpdateHeader


def has_valid_form(header: UpdateHeader, form: PayloadForm) -> bool:
    """Answer whether the header names the codec and the payload's length of this network."""
    return (header.codec, header.payload_bytes) == (form.number, form.length)


def invalid_header(header: UpdateHeader) -> InvalidUpdate:
    """Return the evidence of a signed header without a valid form: it is the whole proof."""
    return InvalidUpdate(header, 0, b"", ())


def judge_payload(
    header: UpdateHeader, data: bytes | memoryview, form: PayloadForm
) -> tuple[bool, InvalidUpdate | None]:
    """Return whether a payload is valid and, where one leaf shows that it isn't, the evidence.

    `data` are the bytes under the root of a signed header of valid form. Where they are fewer or more than
    the header says, the payload is invalid and nobody is accused: one leaf can't show a whole length. Nor can
    it show that its first index is not above the last one of the leaf before.
    """
    try:
        form.verify(data)
    except OutOfBounds:
        return False, _broken_leaf(header, data, form) if len(data) == header.payload_bytes else None
    return True, None


def opening(header: UpdateHeader, data: bytes | memoryview, index: int) -> InvalidUpdate:
    """Return one leaf of the payload of a signed header, with its path: evidence if the leaf is broken."""
    leaf = bytes(data[index * LEAF_BYTES : (index + 1) * LEAF_BYTES])
    return InvalidUpdate(header, index, leaf, path_of_hashes(blob_leaf_hashes(data), index))


def _broken_leaf(header: UpdateHeader, data: bytes | memoryview, form: PayloadForm) -> InvalidUpdate | None:
    for index in range(leaf_count(len(data))):
        offset = index * LEAF_BYTES
        if form.broken_at(memoryview(data)[offset : offset + LEAF_BYTES], offset) is not None:
            return opening(header, data, index)
    return None


def verify_invalid_update(evidence: InvalidUpdate, form: PayloadForm) -> None:
    """Check all but the signature: at most one leaf is hashed, with its path, and 16 KiB are read.

    Raises:
        MalformedMessage: It proves nothing.
    """
    header = evidence.update
    if not has_valid_form(header, form):
        if evidence != invalid_header(header):
            raise MalformedMessage("the header is the proof: nothing is to be opened")
        return
    offset = evidence.index * LEAF_BYTES
    length = min(LEAF_BYTES, header.payload_bytes - offset)
    if len(evidence.leaf) != length:
        raise MalformedMessage(f"a leaf of {len(evidence.leaf)} bytes where {length} are in place")
    count = leaf_count(header.payload_bytes)
    if not has_leaf(header.payload_root, evidence.leaf, evidence.index, count, evidence.path):
        raise MalformedMessage(f"leaf {evidence.index} is not one of the payload's {count}")
    if form.broken_at(evidence.leaf, offset) is None:
        raise MalformedMessage(f"leaf {evidence.index} of the payload breaks no rule")
