"""The one door to transports."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from p2pfed.errors import LocalError
from p2pfed.net import factory
from p2pfed.net.factory import make_transport
from p2pfed.primitives.keys import PrivateKey

HANDLER: Any = None
KEY = PrivateKey(b"\x01" * 32)


def test_tcp_is_made_by_its_name() -> None:
    assert make_transport("tcp", key=KEY, chain_id=bytes(32), handler=HANDLER).name == "tcp"


def test_a_missing_libp2p_says_how_to_install_it_and_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "find_spec", lambda _: None)
    with pytest.raises(LocalError) as caught:
        make_transport("libp2p", key=KEY, chain_id=bytes(32), handler=HANDLER)
    assert "apt-get install gcc libgmp-dev" in str(caught.value)
    assert "pip install 'p2pfed[libp2p]'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["memory", "quic", ""])
def test_what_is_no_network_transport_is_a_local_error(name: str) -> None:
    with pytest.raises(LocalError):
        make_transport(name, key=KEY, chain_id=bytes(32), handler=HANDLER)


def test_making_tcp_imports_neither_libp2p_nor_cryptography() -> None:
    """A peer that only dials stays small; the certificate is made when it listens."""
    program = (
        "import sys; from p2pfed.net.factory import make_transport;"
        "from p2pfed.primitives.keys import PrivateKey;"
        "make_transport('tcp', key=PrivateKey(b'1' * 32), chain_id=bytes(32), handler=None);"
        "print(sorted({'trio', 'libp2p', 'cryptography'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
    assert importlib.util.find_spec("cryptography") is not None
