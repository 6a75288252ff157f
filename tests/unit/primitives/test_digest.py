"""Hashes have domains: the same bytes of another kind or network have another hash."""

from __future__ import annotations

import hashlib

from p2pfed.primitives.digest import signing_digest, tagged


def test_a_tag_is_a_prefix_with_an_end() -> None:
    assert tagged("hdr", b"x") == hashlib.sha256(b"p2pfed/1/hdr\x00x").digest()
    assert tagged("a", b"bc") != tagged("ab", b"c")


def test_a_signature_belongs_to_one_kind_and_one_network() -> None:
    body = b"\x91\x01"
    digests = {
        signing_digest(kind, chain, body)
        for kind in ("prevote", "precommit")
        for chain in (bytes(32), b"\x01" * 32)
    }
    assert len(digests) == 4
