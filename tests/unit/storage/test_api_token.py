"""The token of the local API: kept, made where it is missing, made anew where it is no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pfed.errors import LocalError
from p2pfed.storage.api_token import load_token, ready_token


def test_a_token_is_made_once_for_its_owner_alone_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = ready_token(path)
    assert len(bytes.fromhex(token)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert ready_token(path) == load_token(path) == token
    assert ready_token(tmp_path / "other") != token


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64, b"0" * 64 + b"\n\n", b"0" * 65])
def test_what_is_no_token_is_replaced_by_a_peer_and_refused_by_who_would_send_it(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "api.token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(LocalError, match="holds no token"):
        load_token(path)
    token = ready_token(path)
    assert token.encode() != content.strip()
    assert load_token(path) == token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_could_read_is_none_any_more(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "api.token"
    token = ready_token(path)
    path.chmod(mode)
    assert ready_token(path) != token
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="holds no token of the HTTP API"):
        load_token(tmp_path / "api.token")
