"""One value has one encoding: what it spells is read back, and no other spelling is."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain import make_genesis

from p2pfed.chain.genesis import dump_genesis, encode_genesis
from p2pfed.errors import MalformedMessage
from p2pfed.primitives import codec
from p2pfed.types.vote import Precommit, Prevote
from p2pfed.types.wire import Blocks, Digest, RoundVotes, decode_control, decode_response

heights = st.integers(0, (1 << 63) - 1)
rounds = st.integers(0, (1 << 32) - 1)
digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
prevotes = st.builds(
    Prevote,
    heights,
    rounds,
    st.none() | digests,
    st.integers(-1, (1 << 32) - 1),
    st.integers(0, 65535),
    signatures,
)
precommits = st.builds(Precommit, heights, rounds, st.none() | digests, st.integers(0, 65535), signatures)
bitmaps = st.binary(max_size=50)
round_votes = st.builds(RoundVotes, rounds, bitmaps, bitmaps, st.booleans())
gossip = st.builds(
    Digest,
    heights,
    rounds,
    st.integers(0, 3),
    st.integers(-1, 9),
    st.integers(-1, 9),
    st.lists(round_votes, max_size=2).map(tuple),
    bitmaps,
    bitmaps,
)
messages = prevotes | precommits | gossip


def spellings(value: object) -> Iterator[bytes]:
    """Yield msgpack spellings of `value`, one part of it longer than it needs to be; never the shortest."""
    match value:
        case bool() | None:
            return
        case int() if value >= 0:
            for code, form, size in ((0xCC, ">B", 8), (0xCD, ">H", 16), (0xCE, ">I", 32), (0xCF, ">Q", 64)):
                if value < 1 << size:
                    yield bytes([code]) + struct.pack(form, value)
            if value < 1 << 63:
                yield b"\xd3" + struct.pack(">q", value)
            if float(value) == value:
                yield b"\xcb" + struct.pack(">d", value)
        case int():
            yield b"\xd3" + struct.pack(">q", value)
        case bytes():
            yield b"\xc5" + struct.pack(">H", len(value)) + value
            yield b"\xc6" + struct.pack(">I", len(value)) + value
            yield b"\xd9" + struct.pack(">B", len(value)) + value
        case list():
            parts = [msgpack.packb(item) for item in value]
            yield b"\xdc" + struct.pack(">H", len(value)) + b"".join(parts)
            yield b"\xdd" + struct.pack(">I", len(value)) + b"".join(parts)
            head = bytes([0x90 | len(value)])
            for place, item in enumerate(value):
                for other in spellings(item):
                    yield head + b"".join([*parts[:place], other, *parts[place + 1 :]])


@given(messages)
def test_a_message_is_read_back_as_it_was_written(message: Prevote | Precommit | Digest) -> None:
    assert decode_control(codec.encode(message)) == message


@given(messages)
def test_an_independent_decoder_reads_the_same_array(message: Prevote | Precommit | Digest) -> None:
    data = codec.encode(message)
    assert msgpack.packb(msgpack.unpackb(data)) == data


@settings(max_examples=40)
@given(messages)
def test_every_other_spelling_of_a_message_is_refused(message: Prevote | Precommit | Digest) -> None:
    data = codec.encode(message)
    others = [other for other in spellings(msgpack.unpackb(data)) if other != data]
    others += [
        data + b"\xc0",
        data[:-1],
        bytes([data[0] + 1]) + data[1:] + b"\xc0",
        bytes([data[0] - 1]) + data[1:],
    ]
    assert len(others) > 10
    for other in others:
        with pytest.raises(MalformedMessage):
            decode_control(other)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_are_the_spelling_of_what_they_mean(data: bytes) -> None:
    try:
        message = decode_control(data)
    except MalformedMessage:
        return
    assert codec.encode(message) == data


@pytest.mark.parametrize("data", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"", b"\xc1", b"\x94\x04"])
def test_bombs_and_scraps_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_control(data)


def test_a_message_is_measured_before_it_is_parsed() -> None:
    data = codec.encode(Blocks(()))
    assert codec.decode(data, Blocks, len(data)) == Blocks(())
    with pytest.raises(MalformedMessage, match="bytes where at most"):
        codec.decode(data, Blocks, len(data) - 1)


def test_a_control_message_is_no_response() -> None:
    with pytest.raises(MalformedMessage):
        decode_response(codec.encode(Precommit(1, 0, None, 0, bytes(64))))


FIRST_USES = """
import os, sys, threading
from pathlib import Path
from p2pfed.chain.genesis import decode_genesis, load_genesis
from p2pfed.primitives import codec

sys.setswitchinterval(1e-6)
data, text = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()

def use(number, barrier):
    barrier.wait()
    load_genesis(text) if number % 2 else decode_genesis(data)

for _ in range(20):  # Each child is a process that has read no type yet.
    child = os.fork()
    if child == 0:
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=use, args=(number, barrier)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


def test_threads_may_read_a_type_for_the_first_time_at_once(tmp_path: Path) -> None:
    """Without the lock of `prepared` half of these processes end with a segmentation fault."""
    genesis = make_genesis((10, 10, 10, 10))
    binary, text = tmp_path / "genesis", tmp_path / "genesis.json"
    binary.write_bytes(encode_genesis(genesis))
    text.write_text(dump_genesis(genesis), encoding="utf-8")
    command = [sys.executable, "-c", FIRST_USES, str(binary), str(text)]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
