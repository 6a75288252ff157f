"""E5: prove that a signed update breaks the static rules, with its header or one leaf of its payload.

The rules are those of `aggregation.payload`: length and codec of the model, and no element of -32768.
"""

from __future__ import annotations

import numpy as np

from p2pfed.aggregation.payload import ELEMENT_BYTES, decode_payload
from p2pfed.errors import MalformedMessage, OutOfBounds
from p2pfed.primitives.merkle import LEAF_BYTES, blob_leaf_hashes, has_leaf, leaf_count, path_of_hashes
from p2pfed.types.evidence import InvalidUpdate
from p2pfed.types.model import Manifest
from p2pfed.types.params import COORDINATE_MAX
from p2pfed.types.update import CODEC_INT16, UpdateHeader


def has_valid_form(header: UpdateHeader, manifest: Manifest) -> bool:
    """Answer whether the header names the codec and the payload's length of this model."""
    return header.codec == CODEC_INT16 and header.payload_bytes == ELEMENT_BYTES * manifest.size


def invalid_header(header: UpdateHeader) -> InvalidUpdate:
    """Return the evidence of a signed header without a valid form: it is the whole proof."""
    return InvalidUpdate(header, 0, b"", ())


def judge_payload(header: UpdateHeader, data: bytes, manifest: Manifest) -> tuple[bool, InvalidUpdate | None]:
    """Return whether a payload is valid and, where a forbidden element makes it invalid, the evidence.

    `data` are the bytes under the root of a signed header of valid form. Where they are fewer or more than
    the header says, the payload is invalid and nobody is accused: one leaf can't show a whole length.
    """
    try:
        decode_payload(data, manifest)
    except OutOfBounds:
        is_whole = len(data) == header.payload_bytes
        return False, invalid_payload(header, data) if is_whole else None
    return True, None


def invalid_payload(header: UpdateHeader, data: bytes) -> InvalidUpdate:
    """Return the evidence in the payload of a signed header, which has a forbidden element."""
    place = int(np.frombuffer(data, "<i2").argmin())
    index = place * ELEMENT_BYTES // LEAF_BYTES
    leaf = data[index * LEAF_BYTES : (index + 1) * LEAF_BYTES]
    return InvalidUpdate(header, index, leaf, path_of_hashes(blob_leaf_hashes(data), index))


def verify_invalid_update(evidence: InvalidUpdate, manifest: Manifest) -> None:
    """Check all but the signature: at most one leaf is hashed, with its path, and 8,192 elements are read.

    Raises:
        MalformedMessage: It proves nothing.
    """
    header = evidence.update
    if not has_valid_form(header, manifest):
        if evidence != invalid_header(header):
            raise MalformedMessage("the header is the proof: nothing is to be opened")
        return
    length = min(LEAF_BYTES, header.payload_bytes - evidence.index * LEAF_BYTES)
    if len(evidence.leaf) != length:
        raise MalformedMessage(f"a leaf of {len(evidence.leaf)} bytes where {length} are in place")
    count = leaf_count(header.payload_bytes)
    if not has_leaf(header.payload_root, evidence.leaf, evidence.index, count, evidence.path):
        raise MalformedMessage(f"leaf {evidence.index} is not one of the payload's {count}")
    if int(np.frombuffer(evidence.leaf, "<i2").min()) >= -COORDINATE_MAX:
        raise MalformedMessage(f"leaf {evidence.index} of the payload breaks no rule")
