"""secp256k1 keys and 64-byte compact low-S ECDSA signatures with RFC 6979 nonces: signing needs no dice."""

from __future__ import annotations

from functools import lru_cache

from coincurve import PrivateKey as _CoincurvePrivateKey
from coincurve import PublicKey as _CoincurvePublicKey
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from p2pfed.errors import BadSignature, LocalError

PUBLIC_KEY_BYTES = 33
SECRET_BYTES = 32
SIGNATURE_BYTES = 64


class PrivateKey:
    """A signing key. It never prints its secret."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise LocalError(f"a secret key has {SECRET_BYTES} bytes, not {len(secret)}")
        try:
            self._key = _CoincurvePrivateKey(secret)
        except ValueError:
            raise LocalError("the secret key is not a number of the curve's group") from None
        self.public: bytes = self._key.public_key.format(compressed=True)

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.hex()})"

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes, for the key file and nothing else."""
        return bytes(self._key.secret)

    def sign(self, digest: bytes) -> bytes:
        """Return the 64-byte compact signature of a 32-byte digest; the same digest gives the same bytes."""
        assert len(digest) == 32
        recoverable: bytes = self._key.sign_recoverable(digest, hasher=None)
        return recoverable[:SIGNATURE_BYTES]


@lru_cache(maxsize=4096)
def _parsed(public: bytes) -> _CoincurvePublicKey | None:
    try:
        return _CoincurvePublicKey(public)
    except ValueError:
        return None


def is_public_key(public: bytes) -> bool:
    """Answer whether `public` is a compressed point of the curve."""
    return len(public) == PUBLIC_KEY_BYTES and _parsed(public) is not None


def has_valid_signature(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Answer whether `signature` is the canonical (low-S, compact) one of `public` over `digest`."""
    if len(signature) != SIGNATURE_BYTES or len(digest) != 32 or len(public) != PUBLIC_KEY_BYTES:
        return False
    key = _parsed(public)
    if key is None:
        return False
    parsed = ffi.new("secp256k1_ecdsa_signature *")
    if not lib.secp256k1_ecdsa_signature_parse_compact(GLOBAL_CONTEXT.ctx, parsed, signature):
        return False
    # The library refuses high-S here, so one vote has one signature.
    return bool(lib.secp256k1_ecdsa_verify(GLOBAL_CONTEXT.ctx, parsed, digest, key.public_key))


def verify_signature(public: bytes, digest: bytes, signature: bytes) -> None:
    """Raise BadSignature unless `signature` is `public`'s over `digest`."""
    if not has_valid_signature(public, digest, signature):
        raise BadSignature(f"signature of {public.hex()[:12]}… does not verify")
