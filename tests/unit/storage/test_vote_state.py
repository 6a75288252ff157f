"""The signer's record survives, and damage to it never passes as a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.errors import StorageFault
from p2pfed.storage.vote_state import VoteStateFile


@given(record=st.binary(max_size=200))
def test_the_last_record_saved_is_the_one_loaded(
    record: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = VoteStateFile(tmp_path_factory.getbasetemp() / "vote_state.json")
    file.save(b"before")
    file.save(record)
    assert file.load() == record


def test_no_record_is_none_and_its_file_is_private(tmp_path: Path) -> None:
    file = VoteStateFile(tmp_path / "vote_state.json")
    assert file.load() is None
    file.save(b"x")
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_every_flipped_or_cut_byte_is_found(tmp_path: Path) -> None:
    file = VoteStateFile(tmp_path / "vote_state.json")
    file.save(bytes(range(40)))
    data = file.path.read_bytes()
    damaged = [
        data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        for place in range(len(data))
        for flip in (0x01, 0x20, 0x80)
    ]
    damaged += [data[:length] for length in range(len(data))]
    for spelling in (*damaged, data + b"\n", b"[" * 100_000, b"null", b'{"record": 5}'):
        file.path.write_bytes(spelling)
        with pytest.raises(StorageFault, match="--new-signer") as fault:
            file.load()
        assert fault.value.exit_code == 5
