"""The key file and its backup."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pfed.errors import LocalError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.storage.key_store import backup, load_key, new_key, restore, save_key

KEY = PrivateKey(bytes(range(1, 33)))
PASSPHRASE = "correct horse battery"


def test_a_key_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_key(path, KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).secret == KEY.secret


def test_new_keys_differ() -> None:
    assert new_key().secret != new_key().secret


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_touch_is_refused_with_the_remedy(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_key(path, KEY)
    path.chmod(mode)
    with pytest.raises(LocalError, match=f"chmod 600 {path}") as refusal:
        load_key(path)
    assert refusal.value.exit_code == 3


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    save_key(tmp_path / "key.json", KEY)
    with pytest.raises(LocalError, match="already"):
        save_key(tmp_path / "key.json", new_key())
    assert load_key(tmp_path / "key.json").secret == KEY.secret


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="p2pfed keys new"):
        load_key(tmp_path / "key.json")


def test_every_flipped_byte_of_a_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_key(path, KEY)
    data = path.read_bytes()
    for place in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            with pytest.raises(LocalError, match="damaged") as refusal:
                load_key(path)
            assert KEY.secret.hex() not in str(refusal.value)


def test_a_backup_opens_with_its_passphrase_only() -> None:
    data = backup(KEY, PASSPHRASE)
    assert KEY.secret.hex().encode() not in data
    assert restore(data, PASSPHRASE).secret == KEY.secret
    with pytest.raises(LocalError, match="passphrase is wrong"):
        restore(data, PASSPHRASE + "!")


@pytest.mark.parametrize("name", ["public", "salt", "nonce", "sealed", "format"])
def test_a_changed_backup_is_refused(name: str) -> None:
    data = backup(KEY, PASSPHRASE).decode()
    start = data.index(f'"{name}": "') + len(name) + 5
    changed = data[:start] + ("1" if data[start] != "1" else "2") + data[start + 1 :]
    with pytest.raises(LocalError):
        restore(changed.encode(), PASSPHRASE)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"null", b"\xff", b'{"format": 1}'])
def test_what_is_no_backup_is_refused(data: bytes) -> None:
    with pytest.raises(LocalError, match="no backup"):
        restore(data, PASSPHRASE)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(LocalError, match="at least 12"):
        backup(KEY, "elevenchars")
