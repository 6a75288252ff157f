"""Peer ids contain their key, and multiaddrs have one spelling each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfed.errors import MalformedMessage
from p2pfed.primitives.keys import PrivateKey
from p2pfed.types.address import Multiaddr, parse_multiaddr, peer_id, public_key_of

KEY = PrivateKey(b"\x01" * 32).public
# Made by libp2p from the same key.
PEER_ID = "16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi"


def test_a_peer_id_is_the_one_that_libp2p_gives() -> None:
    assert peer_id(KEY) == PEER_ID
    assert public_key_of(PEER_ID) == KEY


@given(
    st.binary(min_size=32, max_size=32).filter(lambda secret: 0 < int.from_bytes(secret, "big") < 1 << 255)
)
def test_a_peer_id_gives_its_key_back(secret: bytes) -> None:
    public = PrivateKey(secret).public
    assert public_key_of(peer_id(public)) == public


@pytest.mark.parametrize(
    "text",
    ["", "1", PEER_ID[:-1], PEER_ID + "1", "1" + PEER_ID, PEER_ID.replace("U", "0"), "9" * 64, "ü" * 53],
)
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        public_key_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.168.1.7/tcp/7400",
        f"/ip4/192.168.1.7/tcp/7400/p2p/{PEER_ID}",
        f"/ip6/2001:db8::1/tcp/1/p2p/{PEER_ID}",
        "/dns/host-1.example.org/tcp/65535",
    ],
)
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_multiaddr(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/ip4/192.168.1.7",
        "/ip4/192.168.1.7/udp/7400",
        "/ip4/192.168.1.7/tcp/0",
        "/ip4/x/tcp/1",
        "/ip4/192.168.1.7/tcp/65536",
        "/ip4/192.168.1.7/tcp/-1",
        "/ip4/192.168.1.7/tcp/٣",
        "/ip6/1.2.3.4/tcp/1",
        "/ip4/::1/tcp/1",
        "/dns//tcp/1",
        "/dns/a b/tcp/1",
        "/ip4/1.2.3.4/tcp/1/p2p/",
        "/ip4/1.2.3.4/tcp/1/p2p/16U",
        f"/ip4/1.2.3.4/tcp/1/p3p/{PEER_ID}",
        "ip4/1.2.3.4/tcp/1",
        "/dns/" + "a" * 300 + "/tcp/1",
        "127.0.0.1:7400",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_multiaddr(text)


@pytest.mark.parametrize(
    ("host", "is_routable"),
    [
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::", False),
        ("10.1.2.3", True),
        ("a.org", True),
    ],
)
def test_loopback_and_wildcards_are_not_for_others(host: str, is_routable: bool) -> None:
    assert Multiaddr(host, 1).is_routable == is_routable
