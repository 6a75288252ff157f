"""The signed hello: each end proves its key, for this connection, this network and this protocol version.

TLS certificates here are self-signed and live as long as the process; they say nothing about who is there. So
each end signs the transcript: its role, both hellos (version, chain, key, nonce, process) and the fingerprint
of the listener's certificate as that end saw it. A man in the middle shows the dialer another certificate, so
the two transcripts differ. A client's certificate is not bound as well: Python's ssl can't ask a stranger for
one that it can't verify.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from p2pfed.errors import MalformedMessage
from p2pfed.net.transport import TransportError
from p2pfed.primitives import codec
from p2pfed.primitives.digest import signing_digest
from p2pfed.primitives.keys import PrivateKey, has_valid_signature, is_public_key
from p2pfed.types.address import peer_id
from p2pfed.types.message import Digest32, Message, PublicKey

HELLO_BYTES_MAX = 512
Role = Literal["dialer", "listener"]
Token = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class Hello(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What each end says first. `process` names one life of the peer, `dial` counts its dials."""

    version: Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
    chain_id: Digest32
    key: PublicKey
    nonce: Digest32
    process: Token
    dial: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Transcript(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What both ends sign, each with its own role; `certificate` is SHA-256 of the listener's, in DER."""

    role: Role
    dialer: Hello
    listener: Hello
    certificate: Digest32


def check_hello(data: bytes, ours: Hello, expected: bytes | None, where: str) -> Hello:
    """Return the other end's hello.

    Args:
        data: The hello's bytes as they came in.
        ours: What we said.
        expected: The key that must be there, None for any.
        where: Who is spoken to, for the sentence.

    Raises:
        MalformedMessage: No hello.
        TransportError: Another version, network or key than ours or the expected one; names both.
    """
    theirs = codec.decode(data, Hello, HELLO_BYTES_MAX)
    if theirs.version != ours.version:
        raise TransportError(f"{where} speaks protocol version {theirs.version}, this peer {ours.version}")
    if theirs.chain_id != ours.chain_id:
        raise TransportError(
            f"{where} belongs to the network {theirs.chain_id.hex()[:16]}, "
            f"this peer to {ours.chain_id.hex()[:16]}"
        )
    if not is_public_key(theirs.key):
        raise MalformedMessage("the key of a hello is no point of the curve")
    if expected is not None and theirs.key != expected:
        raise TransportError(f"{where} is {peer_id(theirs.key)}, expected {peer_id(expected)}")
    if theirs.key == ours.key:
        raise TransportError(f"{where} has this peer's own key {peer_id(ours.key)}")
    return theirs


def prove(key: PrivateKey, transcript: Transcript) -> bytes:
    """Return our signature (64 bytes) over the transcript in our role."""
    return key.sign(_digest(transcript))


def check_proof(public: bytes, transcript: Transcript, signature: bytes, where: str) -> None:
    """Raise TransportError unless `signature` is that of `public` over the transcript in its role."""
    if not has_valid_signature(public, _digest(transcript), signature):
        raise TransportError(f"{where} did not prove the key {peer_id(public)} for this connection")


def _digest(transcript: Transcript) -> bytes:
    return signing_digest("hello", transcript.dialer.chain_id, codec.encode(transcript))
