"""What a trainer could not send joins its next update, and so does an update that never counted."""

from __future__ import annotations

import numpy as np
import pytest

from p2pfed.aggregation.payload import PayloadForm
from p2pfed.learning.feedback import Feedback, payload_of
from p2pfed.types.model import ArraySpec, Float32Vector, Manifest

MANIFEST = Manifest((ArraySpec("weights", (32,), "float32", "trained", False),))
EXPONENTS = np.array([10], np.int8)
FORM = PayloadForm(MANIFEST, "top_k", 8)


def delta(seed: int) -> Float32Vector:
    return np.random.default_rng(seed).normal(0, 0.1, 32).astype(np.float32)


def test_what_was_sent_and_what_is_left_are_what_was_trained() -> None:
    payload, left = payload_of(
        delta(1), FORM, EXPONENTS, bytes(32), Feedback.none(32), base_height=4, last_base=-1
    )
    assert (FORM.decode(payload, bytes(32)) / 1024 == left.sent).all()
    assert np.count_nonzero(left.sent) == 4
    assert np.abs(left.sent + left.kept - delta(1)).max() < 1e-6
    assert left.base_height == 4


@pytest.mark.parametrize("has_counted", [True, False])
def test_an_update_that_did_not_count_joins_the_next_one(has_counted: bool) -> None:
    _, first = payload_of(
        delta(1), FORM, EXPONENTS, bytes(32), Feedback.none(32), base_height=4, last_base=-1
    )
    last_base = 4 if has_counted else 3
    _, second = payload_of(delta(2), FORM, EXPONENTS, bytes(32), first, base_height=5, last_base=last_base)
    wanted = delta(2) + first.kept + (0 if has_counted else first.sent)
    assert np.abs(second.sent + second.kept - wanted).max() < 1e-6


def test_in_the_long_run_everything_arrives() -> None:
    left, arrived = Feedback.none(32), np.zeros(32, np.float32)
    step = np.linspace(-0.02, 0.03, 32, dtype=np.float32)
    for height in range(200):
        _, left = payload_of(step, FORM, EXPONENTS, bytes(32), left, base_height=height, last_base=height - 1)
        arrived += left.sent
    assert np.abs(arrived - 200 * step).max() < 0.2 < np.abs(200 * step).max() / 10


def test_a_codec_that_sends_everything_keeps_nothing() -> None:
    none = Feedback.none(0)
    _, left = payload_of(
        delta(1), PayloadForm(MANIFEST, "int8"), EXPONENTS, bytes(32), none, base_height=0, last_base=-1
    )
    assert left is none


def test_a_file_gives_it_back_and_another_models_or_a_damaged_one_is_as_none() -> None:
    kept = Feedback(7, delta(1), delta(2))
    data = kept.to_bytes()
    assert len(data) == Feedback.file_bytes(32)
    again = Feedback.from_bytes(data, 32)
    assert (again.base_height, again.kept.tolist(), again.sent.tolist()) == (
        7, kept.kept.tolist(), kept.sent.tolist(),
    )  # fmt: skip
    for wrong in (b"", data[:-1], data[:-4] + b"\xff\xff\xff\xff", Feedback.none(31).to_bytes()):
        lost = Feedback.from_bytes(wrong, 32)
        assert (lost.base_height, lost.kept.any(), lost.sent.any()) == (-1, False, False)
