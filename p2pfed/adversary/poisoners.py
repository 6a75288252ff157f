"""Liars about values: each publishes a well-formed update that pulls the model away."""

from __future__ import annotations

from collections.abc import Sequence

from p2pfed.adversary import values
from p2pfed.adversary.base import PayloadLiar
from p2pfed.aggregation.payload import encode_payload
from p2pfed.types.model import Int16Vector


class SignFlip(PayloadLiar):
    """Sends its honest update times -scale."""

    kind = "sign_flip"

    def payload(self, height: int, own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:  # noqa: ARG002
        return encode_payload(values.sign_flip(own, self.settings["scale"]))


class Noise(PayloadLiar):
    """Sends Gaussian noise, `scale` times as large as its honest update."""

    kind = "noise"

    def payload(self, height: int, own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:  # noqa: ARG002
        return encode_payload(values.noise(own, self.settings["scale"], self.dice(height)))


class HugeNorm(PayloadLiar):
    """Sends the largest update that can be encoded."""

    kind = "huge_norm"

    def payload(self, height: int, own: Int16Vector, others: Sequence[Int16Vector]) -> bytes:  # noqa: ARG002
        return encode_payload(values.huge(own))
