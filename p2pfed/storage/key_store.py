"""key.json: the secret key of a peer, for its owner's eyes only, and its backup under a passphrase."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from p2pfed.errors import LocalError
from p2pfed.primitives.keys import PrivateKey
from p2pfed.storage.files import PRIVATE_MODE, disk_errors, read_small, render_json, replace_file

SALT_BYTES = 16
NONCE_BYTES = 12
# scrypt at N = 2^15, r = 8 takes 32 MiB and about 0.1 s: a guess costs an attacker the same.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 15, 8, 1
PASSPHRASE_CHARACTERS_MIN = 12
_BACKUP_FORMAT = "p2pfed-key-backup/1"


def new_key() -> PrivateKey:
    """Return a key made from the system's dice."""
    while True:
        try:
            return PrivateKey(os.urandom(32))
        except LocalError:
            continue  # Zero or beyond the group's order: 1 in 2^127.


def _render(key: PrivateKey) -> bytes:
    return render_json({"version": 1, "public": key.public.hex(), "secret": key.secret.hex()})


def save_key(path: Path, key: PrivateKey) -> None:
    """Write `key` for its owner only; durable on return.

    Raises:
        LocalError: There is a key already; it is never overwritten.
    """
    if path.exists():
        raise LocalError(f"{path} holds a key already; move it away if you really want another one")
    replace_file(path, _render(key), "key", PRIVATE_MODE)


def load_key(path: Path) -> PrivateKey:
    """Return the key in `path`.

    Raises:
        LocalError: There is none, others can read it, or it is damaged.
    """
    with disk_errors(f"look at {path}"):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            raise LocalError(f"there is no key {path}; make one with `p2pfed keys new`") from None
    if mode & 0o077:
        raise LocalError(f"others can read {path} (mode {mode:o}); close it with: chmod 600 {path}")
    data = read_small(path) or b""
    try:
        key = PrivateKey(bytes.fromhex(json.loads(data)["secret"]))
    except (ValueError, KeyError, TypeError, RecursionError, LocalError):
        key = None
    if key is None or _render(key) != data:
        raise LocalError(f"{path} is damaged; restore it with `p2pfed keys restore`")
    return key


def _cipher_key(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # Slow to import, rarely needed.

    return Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.encode("utf-8"))


def backup(key: PrivateKey, passphrase: str) -> bytes:
    """Return `key` as a text file sealed with scrypt and AES-256-GCM.

    Raises:
        LocalError: The passphrase has fewer than PASSPHRASE_CHARACTERS_MIN characters.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise LocalError(
            f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters, not {len(passphrase)}"
        )
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    # The public key is authenticated too, so a backup can't pass as that of another peer.
    sealed = AESGCM(_cipher_key(passphrase, salt)).encrypt(nonce, key.secret, key.public)
    return render_json(
        {
            "format": _BACKUP_FORMAT,
            "public": key.public.hex(),
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "sealed": sealed.hex(),
        }
    )


def restore(data: bytes, passphrase: str) -> PrivateKey:
    """Return the key in a backup.

    Raises:
        LocalError: No backup, a wrong passphrase, or damaged.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        fields = json.loads(data)
        version = fields["format"]
        public, salt, nonce, sealed = (
            bytes.fromhex(fields[name]) for name in ("public", "salt", "nonce", "sealed")
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LocalError("this file is no backup of a p2pfed key") from None
    if version != _BACKUP_FORMAT or len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise LocalError(
            f"this backup has the format {version!r}; {_BACKUP_FORMAT!r} is the one that is known"
        )
    try:
        secret = AESGCM(_cipher_key(passphrase, salt)).decrypt(nonce, sealed, public)
    except InvalidTag:
        raise LocalError("the passphrase is wrong or the backup is damaged") from None
    key = PrivateKey(secret)
    if key.public != public:
        raise LocalError("the backup names another public key than its secret has")
    return key
