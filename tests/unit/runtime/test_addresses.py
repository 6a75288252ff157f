from __future__ import annotations

import socket

import pytest

from p2pfed.errors import LocalError
from p2pfed.runtime.addresses import announced, parse_addresses
from p2pfed.types.address import Multiaddr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/ip4/10.0.0.7/tcp/7401", Multiaddr("10.0.0.7", 7401)),
        ("10.0.0.7:7401", Multiaddr("10.0.0.7", 7401)),
        ("10.0.0.7", Multiaddr("10.0.0.7", 7400)),
        ("peer.example.org:80", Multiaddr("peer.example.org", 80)),
        ("::1", Multiaddr("::1", 7400)),
    ],
)
def test_an_address_is_a_multiaddr_or_a_host_with_or_without_a_port(text: str, address: Multiaddr) -> None:
    assert parse_addresses([text], 7400) == (address,)


@pytest.mark.parametrize("text", ["", "a b", "/ip4/10.0.0.7", "10.0.0.7:port", "10.0.0.7:70000", "host:0"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(LocalError, match="is no address"):
        parse_addresses([text], 7400)


def test_the_operator_has_the_last_word_on_what_is_announced() -> None:
    assert announced("0.0.0.0", 7401, ["example.org"]) == (Multiaddr("example.org", 7401),)
    assert announced("127.0.0.1", 7401, []) == (Multiaddr("127.0.0.1", 7401),)


def test_a_wildcard_is_never_announced() -> None:
    for wildcard in ("0.0.0.0", "::"):
        assert not any(address.is_wildcard for address in announced(wildcard, 7400, []))


@pytest.mark.parametrize(("wildcard", "hosts"), [("0.0.0.0", ["10.0.0.1"]), ("::", ["10.0.0.1", "fd00::1"])])
def test_only_what_is_listened_on_is_announced(
    monkeypatch: pytest.MonkeyPatch, wildcard: str, hosts: list[str]
) -> None:
    class Route:
        def __init__(self, family: int, _: int) -> None:
            self.family = family

        def __enter__(self) -> Route:
            return self

        def __exit__(self, *_: object) -> None: ...

        def connect(self, _: tuple[str, int]) -> None: ...

        def getsockname(self) -> tuple[str, int]:
            return ("10.0.0.1" if self.family == socket.AF_INET else "fd00::1"), 9

    monkeypatch.setattr(socket, "socket", Route)
    assert [address.host for address in announced(wildcard, 7400, [])] == hosts
