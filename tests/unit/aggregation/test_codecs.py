"""Every codec: what it keeps of an update, which bytes no payload has, and that a second program agrees."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfed.aggregation.payload import PayloadForm
from p2pfed.aggregation.sparse import BLOCK, drawn, top_blocks
from p2pfed.errors import OutOfBounds
from p2pfed.types.genesis import Params, spelled_params
from p2pfed.types.model import ArraySpec, Int16Vector, Manifest

SPEC = importlib.util.spec_from_file_location(
    "stand_alone_codecs", Path(__file__).parents[3] / "p2pfed" / "independent" / "verify.py"
)
assert SPEC is not None
assert SPEC.loader is not None
VERIFY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(VERIFY)

SEED = bytes(range(32))
FORMS = (("int16", 1), ("int8", 1), ("int4", 1), ("sign", 1), ("rand_k", 7), ("top_k", 7))


def manifest(*sizes: int) -> Manifest:
    return Manifest(
        tuple(ArraySpec(f"array {i}", (size,), "float32", "trained", False) for i, size in enumerate(sizes))
    )


def form(codec: str, one_in: int, *sizes: int) -> PayloadForm:
    return PayloadForm(manifest(*sizes), codec, one_in)  # type: ignore[arg-type]


def theirs(ours: PayloadForm) -> object:
    """Return the form of the second program for the same network."""
    params = Params("local", ("mean",), 1, 12, 4, 0, codec=ours.codec, codec_one_in=ours.one_in)
    arrays = [[array.name, list(array.shape), "float32", "trained", False] for array in ours.manifest.arrays]
    return VERIFY.Form([1, "", 0, "tcp", list(spelled_params(params)), [], [arrays]])


def row(size: int, seed: int, reach: int = 32767) -> Int16Vector:
    return np.random.default_rng(seed).integers(-reach, reach + 1, size).astype(np.int16)


def test_lengths_are_what_a_founder_counts_on() -> None:
    size = 100_000
    lengths = {codec: form(codec, 1 if codec not in ("rand_k", "top_k") else 100, size).length
               for codec, _ in FORMS}  # fmt: skip
    assert lengths == {
        "int16": 200_000, "int8": 100_000 + 98, "int4": 50_000 + 98, "sign": 12_500 + 196,
        "rand_k": 2_000, "top_k": 4 * (656 + 345),
    }  # fmt: skip


@pytest.mark.parametrize(("codec", "most", "top"), [("int8", 127, 8), ("int4", 7, 12)])
def test_packed_values_are_off_by_half_of_the_least_step_that_fits(codec: str, most: int, top: int) -> None:
    ours = form(codec, 1, 1500, 3)
    for reach in (1, 7, 8, 100, 127, 128, 5000, 32767):
        update = row(1503, reach, reach)
        found = ours.decode(ours.encode(update, SEED), SEED).astype(np.int64)
        for block in (slice(0, 1024), slice(1024, 1500), slice(1500, 1503)):
            peak = int(np.abs(update[block].astype(int)).max())
            shift = min(top, next(k for k in range(16) if peak + (1 << k >> 1) < most + 1 << k))
            wanted = np.clip(update[block], -(most << shift), most << shift)  # Only the very largest are cut.
            assert np.abs(found[block] - wanted).max() <= 1 << shift >> 1


@pytest.mark.parametrize(("codec", "most"), [("int8", 127), ("int4", 7)])
def test_what_would_round_to_one_too_many_takes_the_next_step(codec: str, most: int) -> None:
    ours = form(codec, 1, 1)
    for value, expected in (
        (most, most),
        (most + 1, most + 1),  # Even, so a step of two spells it.
        (2 * most, 2 * most),
        (2 * most + 1, 2 * most + 2),  # In steps of two it would be the most and one.
    ):
        for sign in (1, -1):
            payload = ours.encode(np.array([sign * value], np.int16), SEED)
            assert ours.decode(payload, SEED).tolist() == [sign * expected]


def test_the_lowest_value_that_is_allowed_may_be_among_the_largest_of_a_block() -> None:
    ours = form("top_k", 2, 6)
    update = np.array([-32767, 32767, 0, 5, 0, 0], np.int16)
    assert ours.decode(ours.encode(update, SEED), SEED).tolist() == update.tolist()


@pytest.mark.parametrize(("codec", "one_in"), FORMS)
def test_what_was_decoded_can_not_be_changed(codec: str, one_in: int) -> None:
    ours = form(codec, one_in, 50)
    assert not ours.decode(bytearray(ours.encode(row(50, 1), SEED)), SEED).flags.writeable


def test_what_is_not_sent_is_added_to_the_next_update_where_a_codec_leaves_much_out() -> None:
    with_feedback = {codec for codec, one_in in FORMS if form(codec, one_in, 5).has_feedback}
    assert with_feedback == {"sign", "rand_k", "top_k"}


def test_signs_have_the_mean_size_of_their_block() -> None:
    ours = form("sign", 1, 1025)
    update = np.concatenate([np.array([-5, 0] * 512), [-32767]]).astype(np.int16)
    found = ours.decode(ours.encode(update, SEED), SEED)
    assert found[:4].tolist() == [-2, 2, -2, 2]
    assert found[1024] == -32767


def test_drawn_coordinates_are_one_of_each_stretch_and_everybodys_the_same() -> None:
    ours = form("rand_k", 7, 50, 3)
    places = drawn(ours.manifest, 7, SEED)
    assert (places // 7)[:8].tolist() == list(range(8))
    assert 50 <= places[8] < 53
    assert places.tolist() != drawn(ours.manifest, 7, bytes(32)).tolist()
    update = row(53, 1)
    found = ours.decode(ours.encode(update, SEED), SEED)
    assert found[places].tolist() == update[places].tolist()
    assert np.count_nonzero(np.delete(found, places)) == 0
    counts = np.zeros(53, int)
    for number in range(300):
        counts[drawn(ours.manifest, 7, bytes([number % 256, number // 256]) + bytes(30))] += 1
    assert counts[:49].min() > 15  # 43 on average: nobody is left out.


def test_the_largest_of_each_block_are_sent_lower_ones_first_among_equals() -> None:
    ours = form("top_k", 4, 8, 3)
    update = np.array([1, -9, 3, 9, -9, 0, 0, 2, 0, 0, 0], np.int16)
    assert ours.decode(ours.encode(update, SEED), SEED).tolist() == [0, -9, 0, 9, 0, 0, 0, 0, 0, 0, 0]
    assert top_blocks(manifest(BLOCK + 1), 1000) == [(0, BLOCK, 66), (BLOCK, 1, 1)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(FORMS), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 2**32),
    st.sampled_from([1, 100, 32767]),
)  # fmt: skip
def test_what_is_encoded_is_valid_comes_back_alike_and_two_programs_read_it_alike(
    kind: tuple[str, int], sizes: list[int], seed: int, reach: int
) -> None:
    ours = form(*kind, *sizes)
    update = row(sum(sizes), seed, reach)
    data = ours.encode(update, SEED)
    assert len(data) == ours.length
    found = ours.decode(data, SEED)
    assert found.dtype == np.int16
    assert not found.flags.writeable
    assert ours.decode(ours.encode(found, SEED), SEED).tolist() == found.tolist()
    other = theirs(ours)
    assert (other.length, other.number) == (ours.length, ours.number)  # type: ignore[attr-defined]
    assert other.decode(data, SEED) == found.tolist()  # type: ignore[attr-defined]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.sampled_from(FORMS), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 2**32),
    st.integers(0, 3), st.data(),
)  # fmt: skip
def test_bytes_of_a_stranger_are_refused_or_read_within_bounds_and_two_programs_judge_alike(
    kind: tuple[str, int], sizes: list[int], seed: int, flips: int, data: st.DataObject
) -> None:
    ours = form(*kind, *sizes)
    payload = bytearray(ours.encode(row(sum(sizes), seed), SEED))
    for _ in range(flips):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(
            st.sampled_from([0, 8, 9, 13, 128, 136, 255])
        )
    if flips == 3:
        payload = bytearray(np.random.default_rng(seed).bytes(len(payload)))
    broken = ours.broken_at(payload)
    other = theirs(ours)
    assert other.is_broken(bytes(payload), 0) == (broken is not None)  # type: ignore[attr-defined]
    if broken is None:
        found = ours.decode(payload, SEED)
        assert np.abs(found.astype(int)).max() <= 32767
        assert other.decode(bytes(payload), SEED) == found.tolist()  # type: ignore[attr-defined]
    else:
        with pytest.raises(OutOfBounds):
            ours.decode(payload, SEED)
    cut = data.draw(st.integers(0, len(payload) // 2)) * 2
    for piece, offset in ((payload[:cut], 0), (payload[cut:], cut)):
        alone = ours.broken_at(piece, offset)
        assert other.is_broken(bytes(piece), offset) == (alone is not None)  # type: ignore[attr-defined]
        assert alone is None or broken is not None  # No part accuses what the whole allows.


@pytest.mark.parametrize(("codec", "one_in"), FORMS)
def test_another_length_is_refused(codec: str, one_in: int) -> None:
    ours = form(codec, one_in, 50, 3)
    for length in (0, 1, ours.length - 1, ours.length + 1, 10_000):
        with pytest.raises(OutOfBounds, match=f"{length} bytes"):
            ours.decode(bytes(length), SEED)


@pytest.mark.parametrize(
    ("codec", "place", "value"),
    [
        ("int8", 0, 9), ("int8", 1, 128), ("int4", 0, 13), ("int4", 1, 8), ("int4", 2, 128), ("int4", 2, 16),
        ("sign", 1, 128), ("sign", 2, 8), ("rand_k", 1, 128), ("top_k", 0, 3), ("top_k", 3, 128),
    ],
)  # fmt: skip
def test_each_rule_names_the_byte_that_breaks_it(codec: str, place: int, value: int) -> None:
    ours = form(codec, 3 if codec in ("rand_k", "top_k") else 1, 3)
    payload = bytearray(ours.length)
    ours.verify(payload)
    payload[place] = value
    with pytest.raises(OutOfBounds, match=rf"byte {place // 2 * 2 if codec[-1] == 'k' else place} "):
        ours.verify(payload)


@pytest.mark.parametrize(
    ("indices", "broken"), [((0, 1, 5), None), ((0, 1, 1), 4), ((0, 0, 5), 2), ((1, 0, 5), 2)]
)
def test_an_index_is_above_the_one_before_it(indices: tuple[int, ...], broken: int | None) -> None:
    ours = form("top_k", 2, 6)
    payload = np.array([*indices, 7, 8, 9], "<u2").tobytes()
    assert ours.broken_at(payload) == broken
    assert theirs(ours).is_broken(payload, 0) == (broken is not None)  # type: ignore[attr-defined]


def test_the_dice_of_the_second_program_are_those_of_the_first() -> None:
    from p2pfed.aggregation.dice import stream
    from p2pfed.primitives.digest import tagged

    assert VERIFY.chacha20(tagged("dice", SEED + b"rand_k"), 150) == stream(SEED, "rand_k", 150)
