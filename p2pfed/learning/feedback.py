"""Error feedback: what a trainer could not send joins its next update, so that nothing is lost for good."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from p2pfed.aggregation.payload import PayloadForm
from p2pfed.privacy.mechanism import dequantise, quantise
from p2pfed.types.model import Float32Vector, Int8Vector

_HEAD_BYTES = 8


class Feedback(Struct, frozen=True, eq=False):
    """What is left of the updates so far.

    base_height: The base of the last update; -1 before there was one.
    kept: What of it was not sent, float32, shape `(d,)`.
    sent: What was; it joins the next update too if that one never counted.
    """

    base_height: int
    kept: Float32Vector
    sent: Float32Vector

    @staticmethod
    def none(size: int) -> Feedback:
        """Return the feedback of a trainer that has sent nothing."""
        return Feedback(-1, np.zeros(size, np.float32), np.zeros(size, np.float32))

    @staticmethod
    def file_bytes(size: int) -> int:
        """Return the length of the file of a model of `size` coordinates."""
        return _HEAD_BYTES + 8 * size

    @staticmethod
    def from_bytes(data: bytes, size: int) -> Feedback:
        """Return the feedback in a file; another length than that of this model: of one that sent nothing."""
        if len(data) != Feedback.file_bytes(size):
            return Feedback.none(size)
        both = np.frombuffer(data, "<f4", offset=_HEAD_BYTES).astype(np.float32)
        if not np.isfinite(both).all():
            return Feedback.none(size)
        return Feedback(int.from_bytes(data[:_HEAD_BYTES], "little", signed=True), both[:size], both[size:])

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        head = self.base_height.to_bytes(_HEAD_BYTES, "little", signed=True)
        return head + b"".join(part.astype("<f4").tobytes() for part in (self.kept, self.sent))


def payload_of(
    delta: Float32Vector,
    form: PayloadForm,
    exponents: Int8Vector,
    seed: bytes,
    before: Feedback,
    *,
    base_height: int,
    last_base: int,
) -> tuple[bytes, Feedback]:
    """Return the payload of a training and what is left over.

    Args:
        delta: What training added to the model, float32, shape `(d,)`.
        form: The network's.
        exponents: The update exponents of the model that was trained from.
        seed: The seed of its state.
        before: The trainer's feedback; it is looked at where the form has feedback only.
        base_height: The height of that state.
        last_base: The base of this trainer's last update that counted.

    Raises:
        LocalError: A value is NaN or infinite.
    """
    groups = form.manifest.groups
    if not form.has_feedback:
        return form.encode(quantise(delta, groups, exponents), seed), before
    wanted = delta + before.kept
    if before.base_height > last_base:
        wanted += before.sent
    payload = form.encode(quantise(wanted, groups, exponents), seed)
    sent = dequantise(form.decode(payload, seed), groups, exponents)
    return payload, Feedback(base_height, wanted - sent, sent)
